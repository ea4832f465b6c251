"""LoRA experts as an objective: a unit is an expert, and its row has the factors of all layers.

S slots, P parameters of an expert, R rank, I layer input, O layer output, N target tokens.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lorary.experts import Expert, ExpertCard, Factors, hash_weights
from lorary.experts.random_start import START_SEED, draw_start
from lorary.experts.seeds import seed_for
from lorary.models import BaseModel, ExpertStack
from lorary.models.quantized.dequantize import came_from_conv1d
from lorary.passes.split import Pass
from lorary.routing import Chooser
from lorary.training.config import TrainConfig
from lorary.training.examples import TrainingExamples
from lorary.training.loop.adamw import AdamWSteps
from lorary.training.loop.contract import Objective
from lorary.training.loop.rows import ParameterRows
from lorary.training.objectives.expert_runs import check_expert_loss, describe_training, make_adamw
from lorary.training.objectives.input_dropout import InputDropout
from lorary.training.progress import UnitProgress
from lorary.training.starts import Starts


class LoraExperts(Objective[Expert]):
    """The objective of ``train_experts``, see ``lorary.training.loop.contract.Objective``.

    Args:
        stack: empty experts on the base model, from ``attach_slots``, one for each slot.
        base: the base model.
        examples: expert name -> its examples.
        config: the configuration.
        starts: the experts that trainings start from; None: no training has a start.
        general: the general expert that is active during training, for the cards; None for none.
    """

    def __init__(
        self,
        stack: ExpertStack,
        base: BaseModel,
        examples: Mapping[str, TrainingExamples],
        config: TrainConfig,
        starts: Starts | None = None,
        general: Expert | None = None,
    ):
        self.stack, self.base, self.examples, self.config = stack, base, examples, config
        self._starts, self._start_errors = starts, dict[str, float]()
        self._general, self._on_top_of = general, None if general is None else hash_weights(general)
        shapes: dict[str, torch.Size] = {}
        for path, layer in stack.layers.items():
            shapes[f"{path}.a"], shapes[f"{path}.b_t"] = layer.a.shape[1:], layer.b_t.shape[1:]
        first = next(iter(stack.layers.values()))
        self.rows = ParameterRows(len(stack.names), shapes, first.a.device)
        for path, layer in stack.layers.items():
            layer.a, layer.b_t = self.rows.parts[f"{path}.a"], self.rows.parts[f"{path}.b_t"]
        self._dropout: InputDropout | None = None
        self._units: dict[int, tuple[int, AdamWSteps]] = {}
        if config.dropout:
            widths = {path: layer.a.shape[2] for path, layer in stack.layers.items()}
            self._dropout = InputDropout(config.dropout, widths, first.a.device)
            for layer in stack.layers.values():
                # A parameter cannot be replaced by a tensor with a gradient, so it is no longer a parameter.
                del layer.a
            self._drop_inputs(self._dropout, [])
        self._adamw = make_adamw(config)

    @torch.no_grad()
    def start(self, name: str, slot: int, num_steps: int) -> AdamWSteps:
        """Start a new expert: ``a`` uniform in ±1/√I as in PEFT, ``b`` zero; or with the factors of another.

        Where that expert has a lower rank, or does not change a layer, the remaining rows are those of
        a new expert.
        """
        self.rows.values[slot] = 0
        rank, shapes = self.config.rank, {}
        for path in self.stack.layers:
            shapes[path] = rank, self.rows.parts[f"{path}.a"].shape[2]
        for path, drawn in draw_start(self._find_seed(name), shapes).items():
            a = self.rows.parts[f"{path}.a"]
            a[slot] = drawn.to(a.device)
        self._put_start(name, slot)
        steps = self._adamw.start(self.rows.values[slot], num_steps)
        self._units[slot] = seed_for(self.config.seed, name), steps
        return steps

    def _find_seed(self, name: str) -> int:
        return seed_for(self.config.seed, "" if self.config.same_start else name)

    def _put_start(self, name: str, slot: int) -> None:
        """Write the factors of the expert that a training starts from, if there is one, into a slot."""
        start = self._starts.fit(name, self.config.rank) if self._starts is not None else None
        if start is None:
            return
        self._start_errors[name] = start.error
        for path, (a, b) in start.factors.items():
            own_a, own_b = (self.rows.parts[f"{path}.{part}"] for part in ("a", "b_t"))
            own_a[slot, : len(a)] = a.to(own_a.device)
            # In a row, b is without LoRA's factor.
            own_b[slot, : len(a)] = (b.T / self.config.scale).to(own_b.device)

    def routing(self, part: Pass) -> Chooser:
        """Return the chooser that gives each slot its own expert, with LoRA's factor as the weight."""
        used = part.requests.unique()
        if self._dropout is not None:
            self._drop_inputs(self._dropout, used.tolist())
        # Slots that are not in the pass name a used one, so that the plan slices the stacks to used slots.
        indices = used.new_full((self.rows.num_slots, 1), int(used[0]))
        weights = torch.zeros(indices.shape, device=used.device)
        indices[used, 0], weights[used, 0] = used, self.config.scale
        return self.stack.plan(indices, weights)

    def _drop_inputs(self, dropout: InputDropout, slots: list[int]) -> None:
        """Leave out inputs of layers in training; without gradients, as in validation, none is left out."""
        drawn = {}
        if torch.is_grad_enabled():
            for slot in slots:
                seed, steps = self._units[slot]
                drawn[slot] = dropout.draw(slot, seed, steps.num_taken)
        for path, layer in self.stack.layers.items():
            a = self.rows.parts[f"{path}.a"]  # [S, R, I]
            if drawn:
                whole = a.new_ones(a.shape[2])
                factors = [drawn[slot][path] if slot in drawn else whole for slot in range(len(a))]
                layer.a = a * torch.stack(factors)[:, None]
            else:
                layer.a = a.detach()

    def check_loss(self, name: str, what: str, loss: float, step: int) -> float:
        """Check that a loss is finite."""
        return check_expert_loss(name, what, loss, step, self.config)

    def export(self, name: str, values: Tensor, progress: UnitProgress) -> Expert:
        """Make an expert from a row; its ``b`` includes LoRA's factor."""
        self.check_loss(name, "sum of weights", float(values.sum()), progress.step)
        examples = self.examples[name]
        card = ExpertCard(
            tasks=examples.tasks,
            base_revision=self.base.revision,
            base_fingerprint=self.base.fingerprint,
            task_type=self.base.task_type,
            provenance={
                **describe_training(self.config, examples, progress),
                **self._describe_start(name),
                **({} if self._general is None else {"general": self._general.name}),
            },
            parents=() if self._starts is None else self._starts.parents(name),
            on_top_of=self._on_top_of,
            scores={} if progress.best_loss is None else {"validation_loss": progress.best_loss},
            fan_in_fan_out=came_from_conv1d(next(iter(self.stack.layers.values())).base),
        )
        return Expert(name, self.base.name, self.read_factors(values), card)

    def _describe_start(self, name: str) -> dict[str, object]:
        if self._starts is None or name not in self._starts:
            return {START_SEED: self._find_seed(name)}
        seed = self._starts.find_start_seed(name)
        found = {} if seed is None else {START_SEED: seed}
        return {"start": self._starts.describe(name, self._start_errors[name]), **found}

    def read_factors(self, values: Tensor) -> dict[str, Factors]:
        """Return the factors in a row ``[P]``, by module path, as copies on the CPU."""
        parts = self.rows.copy_row(values)
        return {
            path: Factors(parts[f"{path}.a"], (parts[f"{path}.b_t"].T * self.config.scale).contiguous())
            for path in self.stack.layers
        }

    def find_optimizer_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Describe the fault in AdamW's saved state; None if there is none."""
        return self._adamw.find_fault(tensors, num_steps, self.rows.num_parameters)
