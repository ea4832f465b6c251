"""PhatGOOSE gates: for each expert and layer a vector whose gate is near 1 on the expert's own tokens.

A unit is an expert's gates at all layers. N experts whose gates are trained, T tokens, I layer input, P the
sum of I over all layers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import linear

from lorary.data import TokenizedExample
from lorary.errors import TrainingError
from lorary.models import ExpertStack
from lorary.models.fingerprint import fingerprint_model
from lorary.passes import Pass, score_pass
from lorary.routing import Choice, Chooser
from lorary.training.example_checks import check_training_examples
from lorary.training.examples import TrainingExamples
from lorary.training.folder.digests import hash_tensors
from lorary.training.folder.lock import hold_run_folder
from lorary.training.folder.run_folder import RunFolder
from lorary.training.folder.tensor_form import TensorForm
from lorary.training.loop.adamw import AdamW, AdamWSteps
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
    """Train the gates of many experts at once, all else frozen.

    With a gate u at each layer, an expert answers its own examples as ``y = W x + sigmoid(u · x) D x``.
    Sequences of all experts stand in one batch, each assigned to its own expert, so that an expert's gates
    come out as if they had been trained alone.

    Args:
        stack: the experts on their model, frozen; left as it was.
        examples: expert -> its own examples, of which ``train`` is used.
        config: how to train.
        run_folder: where a state is kept from which a killed training goes on; None keeps none.
        fresh: start over instead of going on.
        on_step: called after each step with its number, from 1, and each expert's loss.

    Returns:
        Module path -> gates ``[N, I]``, float32, on the CPU; rows in the order of ``examples``. Where an
        expert does not change a layer, its gate stays zero.

    Raises:
        ValueError: if there is nothing to train, an expert has no training example, or the model cannot read
            one.
        UnknownExpert: if an expert is not on the model.
        TrainingError: if a loss or a gate is not finite, or the folder holds another training, is damaged or
            in use.

    Source: PhatGOOSE, arXiv:2402.05859.
    """
    if not examples:
        raise ValueError("there are no gates to train: give at least one expert's examples")
    for name, found in examples.items():
        check_training_examples(name, found, stack.model)

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


class ExpertGates:
    """What ``train_gates`` trains, see ``lorary.training.loop.contract.Objective``.

    Args:
        stack: the experts on their model.
        names: those whose gates are trained; each has the slot of its place here.
        config: how to train.
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
        """Start with gates that are half open: zeros."""
        self.rows.values[slot] = 0
        return self._adamw.start(self.rows.values[slot], num_steps)

    def request(self, slot: int, example: TokenizedExample) -> int:
        """Route all examples of a slot alike."""
        return slot

    def routing(self, part: Pass) -> Chooser:
        """Give each slot its own expert, as far as its gate opens."""
        return self._chooser

    def losses(self, part: Pass, examples: Sequence[TokenizedExample], chooser: Chooser | None) -> Tensor:
        """Give the negative log-likelihoods of the target tokens."""
        return score_pass(self.stack, part, chooser)

    def check_loss(self, name: str, what: str, loss: float, step: int) -> float:
        """Refuse a loss that is not finite."""
        if not math.isfinite(loss):
            raise TrainingError(
                f"expert {name!r}: the {what} of its gates is {loss} after {step} steps; lower "
                f"learning_rate ({self.config.learning_rate:g}), or look at its examples"
            )
        return loss

    def export(self, name: str, values: Tensor, progress: UnitProgress) -> dict[str, Tensor]:
        """Give an expert's gates, module path -> ``[I]``."""
        gates = self.rows.split_row(values.detach().cpu().clone())
        for path, gate in gates.items():
            # The last step's update has been seen by no loss.
            if not gate.isfinite().all():
                raise TrainingError(
                    f"expert {name!r}: its gate of module {path!r} is not finite after "
                    f"{progress.step} steps; lower learning_rate ({self.config.learning_rate:g})"
                )
        return gates

    def find_optimizer_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Look at AdamW's moments."""
        return self._adamw.find_fault(tensors, num_steps, self.rows.num_parameters)


class _OpenGates:
    """A chooser: it gives each token its slot's expert, and how far that one's gate opens.

    Args:
        places: where in the stack the experts stand, ``[N]``.
        gates: module path -> ``[N, I]``.
    """

    def __init__(self, places: Tensor, gates: Mapping[str, Tensor]):
        self.places, self.gates = places, gates

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice:
        """Choose for tokens ``[T, I]`` by whose they are; see ``Chooser``."""
        own = rows.clamp(min=0)[:, None]
        # All products, then each token's own: this keeps no row of gates per token for the way back.
        opening = torch.sigmoid(linear(x, self.gates[path].to(x.dtype)).float().gather(1, own))
        return Choice(self.places[own], opening * (rows >= 0)[:, None])
