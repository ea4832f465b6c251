"""PhatGOOSE gates as an objective: vectors whose gates are near 1 on an expert's own tokens.

A unit consists of an expert's gates at all layers. N experts whose gates are trained, T tokens, I layer
input, P the sum of I over all layers.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import linear

from lorary.errors import TrainingError
from lorary.experts.parts.low_rank_only import refuse_kinds
from lorary.files import say_count
from lorary.models import ExpertStack
from lorary.models.fingerprint import fingerprint_model
from lorary.passes.split import Pass
from lorary.routing import Choice, Chooser
from lorary.training.example_checks import check_training_examples
from lorary.training.examples import TrainingExamples
from lorary.training.folder.digests import hash_tensors
from lorary.training.folder.lock import hold_run_folder
from lorary.training.folder.run_folder import RunFolder
from lorary.training.folder.tensor_form import TensorForm
from lorary.training.loop.adamw import AdamW, AdamWSteps
from lorary.training.loop.contract import Objective
from lorary.training.loop.loop import Loop
from lorary.training.loop.rows import ParameterRows
from lorary.training.objectives.gate_config import GateConfig
from lorary.training.progress import UnitProgress


def train_gates(
    stack: ExpertStack,
    examples: Mapping[str, TrainingExamples],
    config: GateConfig,
    run_folder: str | Path | None = None,
    *,
    fresh: bool = False,
    on_step: Callable[[int, Mapping[str, float]], None] | None = None,
) -> dict[str, Tensor]:
    """Train the gates of many experts in the same passes; everything else is frozen.

    With a gate vector u at each layer and the expert's weight change D, the layer computes
    ``y = W x + sigmoid(u · x) D x`` on the expert's own examples. A batch has examples of all experts, each
    routed to its own expert. So an expert's gates are the same as if they were trained alone.

    Args:
        stack: the experts on their model; they are frozen and not changed.
        examples: expert -> its own examples, of which ``train`` is used.
        config: the configuration.
        run_folder: folder of the state from which a killed training is resumed; None: none.
        fresh: start over instead of resuming.
        on_step: called after each step with its number, from 1, and each expert's loss.

    Returns:
        Module path -> gates ``[N, I]``, float32, on the CPU; rows in the order of ``examples``. At a layer
        that an expert does not change, its gate stays zero.

    Raises:
        ValueError: if there is nothing to train, an expert has no training example, or the model cannot read
            an example.
        UnknownExpert: if an expert is not on the model.
        IncompatibleExpert: if an expert has more than low-rank factors.
        TrainingError: if a loss or a gate is not finite, or the folder has another training, is damaged or
            in use.

    Source: PhatGOOSE, arXiv:2402.05859.
    """
    if not examples:
        raise ValueError("there must be examples of at least one expert, found none: pass some")
    for name, found in examples.items():
        check_training_examples(name, found, stack.model)
    refuse_kinds({name: stack.kinds.get(name, ()) for name in examples}, "training of gates")

    def tell_step(progress: Mapping[str, UnitProgress]) -> None:
        if on_step is not None:
            last = {name: found.train_curve[-1] for name, found in progress.items()}
            on_step(max(step for step, _ in last.values()), {name: loss for name, (_, loss) in last.items()})

    objective = ExpertGates(stack, list(examples), config)
    with nullcontext() if run_folder is None else hold_run_folder(run_folder):
        folder = None
        if run_folder is not None:
            identity = _identify(stack, examples, config)
            folder = RunFolder(run_folder, identity, TensorForm(objective.rows.shapes), fresh=fresh)
        done = Loop(objective, examples, config.loop, folder=folder, after_round=tell_step).run()
    return {path: torch.stack([gates[path] for gates, _ in done.values()]) for path in stack.layers}


def _identify(
    stack: ExpertStack, examples: Mapping[str, TrainingExamples], config: GateConfig
) -> dict[str, object]:
    with stack.set_aside() as model:
        fingerprint = fingerprint_model(model)
    return {
        "configuration": {key: value for key, value in asdict(config).items() if key != "tokens_per_pass"},
        "base model": fingerprint,
        **({} if stack.general is None else {"general expert": stack.general.weights}),
        "experts": {name: _hash_expert(stack, name) for name in examples},
        "examples": {name: found.digest for name, found in examples.items()},
    }


def _hash_expert(stack: ExpertStack, name: str) -> str:
    place = stack.index(name)
    factors = {
        f"{path}.{key}": stacked[place].detach().cpu()
        for path, layer in stack.layers.items()
        for key, stacked in (("a", layer.a), ("b_t", layer.b_t))
    }
    return hash_tensors(name, factors)[:16]


class ExpertGates(Objective[dict[str, Tensor]]):
    """The objective of ``train_gates``, see ``lorary.training.loop.contract.Objective``.

    Args:
        stack: the experts on their model.
        names: the experts whose gates are trained, in the order of slots.
        config: the configuration.
    """

    def __init__(self, stack: ExpertStack, names: list[str], config: GateConfig):
        self.stack, self.config = stack, config
        places = torch.tensor([stack.index(name) for name in names])
        widths = {path: [layer.a.shape[2]] for path, layer in stack.layers.items()}
        self.rows = ParameterRows(len(names), widths, stack.model.device)
        self._chooser = _OpenGates(places.to(stack.model.device), self.rows.parts)
        self._adamw = AdamW(
            learning_rate=config.learning_rate,
            warmup_ratio=config.warmup_ratio,
            weight_decay=config.weight_decay,
        )

    def start(self, name: str, slot: int, num_steps: int) -> AdamWSteps:
        """Start with zeros, where every gate is ½."""
        self.rows.values[slot] = 0
        return self._adamw.start(self.rows.values[slot], num_steps)

    def routing(self, part: Pass) -> Chooser:
        """Return the chooser that gives each slot its own expert, with its gate as the weight."""
        return self._chooser

    def check_loss(self, name: str, what: str, loss: float, step: int) -> float:
        """Check that a loss is finite."""
        if not math.isfinite(loss):
            raise TrainingError(
                f"expert {name!r}: the {what} of its gates must be finite, found {loss} after "
                f"{say_count(step, 'step')}: "
                f"lower learning_rate ({self.config.learning_rate:g}), or check its examples"
            )
        return loss

    def export(self, name: str, values: Tensor, progress: UnitProgress) -> dict[str, Tensor]:
        """Return an expert's gates, module path -> ``[I]``."""
        gates = self.rows.copy_row(values)
        for path, gate in gates.items():
            # No loss was computed after the last step.
            if not gate.isfinite().all():
                raise TrainingError(
                    f"expert {name!r}: its gate of module {path!r} must be finite, found NaN or infinity "
                    f"after {say_count(progress.step, 'step')}: lower learning_rate "
                    f"({self.config.learning_rate:g})"
                )
        return gates

    def find_optimizer_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Describe the fault in AdamW's saved state; None if there is none."""
        return self._adamw.find_fault(tensors, num_steps, self.rows.num_parameters)


class _OpenGates:
    """A chooser that gives each token its slot's expert, with the gate's value as the weight.

    Args:
        places: the experts' places in the stack, ``[N]``.
        gates: module path -> ``[N, I]``.
    """

    def __init__(self, places: Tensor, gates: Mapping[str, Tensor]):
        self.places, self.gates = places, gates

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice:
        """Choose the expert of each token's slot; see ``Chooser``."""
        own = rows.clamp(min=0)[:, None]
        # All N products, of which each token's own is kept: gathering gates first would keep [T, I] for
        # backward.
        opening = torch.sigmoid(linear(x, self.gates[path].to(x.dtype)).float().gather(1, own))
        return Choice(self.places[own], opening * (rows >= 0)[:, None])
