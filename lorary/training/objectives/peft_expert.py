"""An expert of PEFT's own layers as an objective: a unit is an expert, and its row has all that PEFT trains.

P parameters of an expert, N target tokens of a pass.
"""

import copy
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.data import TokenizedExample
from lorary.experts import Expert, Factors, read_peft
from lorary.experts.seeds import seed_for
from lorary.models import BaseModel, ExpertStack
from lorary.models.checkpointing import checkpoint_layers
from lorary.models.cross_entropy import cross_entropy
from lorary.models.logits import select_positions, target_losses
from lorary.models.routing_context import RoutingContext
from lorary.passes.layout import Layout
from lorary.passes.split import Pass
from lorary.routing import Chooser
from lorary.training.config import TrainConfig
from lorary.training.examples import TrainingExamples
from lorary.training.loop.adamw import AdamWSteps
from lorary.training.loop.contract import Objective
from lorary.training.loop.rows import ParameterRows
from lorary.training.objectives.expert_runs import check_expert_loss, describe_training, make_adamw
from lorary.training.peft_settings import describe_peft_config
from lorary.training.progress import UnitProgress


class PeftExperts(Objective[Expert]):
    """The objective of ``train_with_peft``; there is one slot, so experts are trained one after the other.

    Args:
        base: the base model, which is copied.
        examples: expert name -> its examples.
        peft_config: PEFT's configuration.
        config: the configuration of the training.

    Raises:
        ValueError: if PEFT would train parameters of another dtype than float32, or none.
    """

    def __init__(
        self,
        base: BaseModel,
        examples: Mapping[str, TrainingExamples],
        peft_config: PeftConfig,
        config: TrainConfig,
    ):
        self.base, self.examples, self.peft_config, self.config = base, examples, peft_config, config
        self.layout = Layout.ENCODED if base.is_encoder_decoder else Layout.PADDED
        self._checkpoints = ExitStack()
        self._wrap(next(iter(examples)))
        parameters = self._list_trained()
        _check_trained(parameters)
        first = next(iter(parameters.values()))
        shapes = {key: tuple(each.shape) for key, each in parameters.items()}
        self.rows = ParameterRows(1, shapes, first.device)
        self._adamw = make_adamw(config)

    def _wrap(self, name: str) -> None:
        """Put PEFT's layers on a copy of the base model, with first values drawn by the expert's seed."""
        self._name: str | None = name
        self._seed, self._pass = seed_for(self.config.seed, name), 0
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(self._seed)
            # PEFT completes the configuration, and changes the model in place.
            self.model: PeftModel = get_peft_model(
                copy.deepcopy(self.base.model), copy.deepcopy(self.peft_config)
            )
        self.model.eval()
        inner: PreTrainedModel = self.model.get_base_model()
        self.stack = ExpertStack(inner, (), {}, RoutingContext())
        self._checkpoints.close()
        if self.config.gradient_checkpointing:
            self._checkpoints.enter_context(checkpoint_layers(self.stack))

    def _list_trained(self) -> dict[str, nn.Parameter]:
        return {key: each for key, each in self.model.named_parameters() if each.requires_grad}

    def start(self, name: str, slot: int, num_steps: int) -> AdamWSteps:
        """Start as PEFT does, with the expert's own seed."""
        if self._name != name:
            self._wrap(name)
        self._name = None  # a second start resets the model
        self.rows.bind(self._list_trained())
        self._steps = self._adamw.start(self.rows.values[slot], num_steps)
        return self._steps

    def survey(self, parts: Sequence[Pass]) -> None:
        """Count the passes of a step from 0."""
        self._pass = 0

    def routing(self, part: Pass) -> Chooser | None:
        """Return None: PEFT's layers are always active."""
        return None

    def losses(self, part: Pass, examples: Sequence[TokenizedExample], chooser: Chooser | None) -> Tensor:
        """Run PEFT's model; dropout in training depends on seed, step and pass alone."""
        inputs, batch = part.batch.inputs_for(self.stack.model), part.batch
        self._set_mode(torch.is_grad_enabled())
        self._pass += 1
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of sparse tensors that PEFT makes
            torch.manual_seed(seed_for(self._seed, f"step {self._steps.num_taken}, pass {self._pass}"))
            if self.peft_config.is_prompt_learning:
                return self._losses_after_prompt(inputs, batch.positions, batch.labels)
            return target_losses(self.stack.model, inputs, batch.positions, batch.labels)

    def _losses_after_prompt(self, inputs: Mapping[str, Any], positions: Tensor, labels: Tensor) -> Tensor:
        """Compute losses of a model that reads virtual tokens first; only some kinds have logits of these."""
        length = inputs["input_ids"].shape[1]
        given = {key: value for key, value in inputs.items() if key != "position_ids"}
        if "PREFIX" not in str(self.peft_config.peft_type):
            positions = positions + (positions // length + 1) * self.peft_config.num_virtual_tokens
        with select_positions(self.stack.model, positions):
            logits: Tensor = self.model(**given).logits[0]
        return cross_entropy(logits, labels)

    def _set_mode(self, is_training: bool) -> None:
        """Switch PEFT's layers between training and use; the base model's own layers stay in evaluation mode.

        The mode lasts until the next pass, because checkpointed layers run again during backward.
        """
        for module in self.model.modules():
            if isinstance(module, BaseTunerLayer):
                module.train(is_training)
                module.get_base_layer().eval()

    def check_loss(self, name: str, what: str, loss: float, step: int) -> float:
        """Check that a loss is finite."""
        return check_expert_loss(name, what, loss, step, self.config)

    def export(self, name: str, values: Tensor, progress: UnitProgress) -> Expert:
        """Make an expert from a row, through PEFT's own files."""
        self.check_loss(name, "sum of weights", float(values.sum()), progress.step)
        with torch.no_grad():
            self.rows.values[0] = values
        with TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The base model's own embeddings are not the adapter's.
            self.model.save_pretrained(folder, save_embedding_layers=False)
            expert = _copy(read_peft(Path(folder), name))
        card = replace(expert.card, **self._describe(name, progress))
        return replace(expert, base_model=self.base.name, card=card)

    def _describe(self, name: str, progress: UnitProgress) -> dict[str, Any]:
        """Return fields of the expert's card."""
        examples = self.examples[name]
        return {
            "tasks": examples.tasks,
            "base_revision": self.base.revision,
            "base_fingerprint": self.base.fingerprint,
            "task_type": self.base.task_type,
            "provenance": {
                "algorithm": "peft",
                "peft": describe_peft_config(self.peft_config),
                **describe_training(self.config, examples, progress),
            },
            "scores": {} if progress.best_loss is None else {"validation_loss": progress.best_loss},
        }

    def find_optimizer_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Describe the fault in AdamW's saved state; None if there is none."""
        return self._adamw.find_fault(tensors, num_steps, self.rows.num_parameters)


def _check_trained(parameters: Mapping[str, nn.Parameter]) -> None:
    if not parameters:
        raise ValueError("the PEFT configuration must have something to train, found nothing: change it")
    others = sorted({str(each.dtype).removeprefix("torch.") for each in parameters.values()} - {"float32"})
    if others:
        raise ValueError(
            f"what PEFT trains must be float32, found {', '.join(others)}: load the base model in float32 "
            "(--dtype float32)"
        )


def _copy(expert: Expert) -> Expert:
    """Return an expert in memory, without views of its files."""
    factors = {path: Factors(a.clone(), b.clone()) for path, (a, b) in expert.factors.items()}
    parts = {
        path: tuple(
            part.replace_tensors({field: tensor.clone() for field, tensor in part.tensors.items()})
            for part in own
        )
        for path, own in expert.parts.items()
    }
    return replace(expert, factors=factors, parts=parts)
