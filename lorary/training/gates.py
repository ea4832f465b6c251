"""PhatGOOSE gates: for each expert and layer a vector that opens where the expert's own tokens come by.

N experts whose gates are trained, B rows of a pass, L row length, T tokens = B×L, I layer input.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lorary.data.tokens import TokenizedExample
from lorary.errors import TrainingError
from lorary.models import ExpertStack, target_losses
from lorary.passes import find_layout
from lorary.passes.packing import PADDING, pack_sequences
from lorary.passes.prefixes import plan_passes
from lorary.routing import Choice
from lorary.training.example_checks import check_training_examples
from lorary.training.examples import TrainingExamples
from lorary.training.gate_config import GateConfig
from lorary.training.schedule import learning_rate_factor, plan_batches, seed_for

Work = tuple[int, TokenizedExample]
"""An expert's place among those trained, and one of its examples."""


def train_gates(
    stack: ExpertStack,
    examples: Mapping[str, TrainingExamples],
    config: GateConfig,
    *,
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
        on_step: called after each step with its number, from 1, and each expert's loss.

    Returns:
        Module path -> gates ``[N, I]``, float32, on the CPU; rows in the order of ``examples``. Where an
        expert does not change a layer, its gate stays zero.

    Raises:
        ValueError: if there is nothing to train, an expert has no training example, or the model cannot read
            one.
        UnknownExpert: if an expert is not on the model.
        TrainingError: if a loss or a gate is not finite.

    Source: PhatGOOSE, arXiv:2402.05859.
    """
    if not examples:
        raise ValueError("there are no gates to train: give at least one expert's examples")
    for name, found in examples.items():
        check_training_examples(name, found, stack.model)
    run = _GateRun(stack, examples, config)
    for step in range(config.num_steps):
        losses = run.take_step(step)
        if on_step is not None:
            on_step(step + 1, losses)
    return run.gates()


class _Gates:
    """A chooser of gates in training: it gives each token its own expert, and how far that one's gate opens.

    Args:
        places: where in the stack the experts stand, ``[N]``.
        widths: module path -> I.
    """

    def __init__(self, places: Tensor, widths: Mapping[str, int]):
        self.places = places
        self.gates = {
            path: nn.Parameter(torch.zeros(len(places), width, device=places.device))
            for path, width in widths.items()
        }

    def choose(self, path: str, x: Tensor, rows: Tensor) -> Choice:
        """Choose for tokens ``[T, I]`` by whose they are; see ``Chooser``."""
        own = rows.clamp(min=0)[:, None]
        # All products, then each token's own: this keeps no row of gates per token for the way back.
        opening = torch.sigmoid(linear(x, self.gates[path].to(x.dtype)).float().gather(1, own))
        return Choice(self.places[own], opening * (rows != PADDING)[:, None])


class _GateRun:
    """The training in progress."""

    def __init__(self, stack: ExpertStack, examples: Mapping[str, TrainingExamples], config: GateConfig):
        self.stack, self.config, self.names = stack, config, list(examples)
        self.train = [found.train for found in examples.values()]
        device = stack.model.device
        places = torch.tensor([stack.index(name) for name in self.names], device=device)
        self.chooser = _Gates(places, {path: layer.a.shape[2] for path, layer in stack.layers.items()})
        parameters = list(self.chooser.gates.values())
        # Every expert takes every step, so that one optimiser is as good as one for each.
        self.optimizer = torch.optim.AdamW(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.batches = [
            plan_batches(
                [len(example) for example in own],
                config.batch_size,
                seed=seed_for(config.seed, name),
                max_steps=config.num_steps,
            )
            for name, own in zip(self.names, self.train, strict=True)
        ]
        longest = max(len(example) for own in self.train for example in own)
        self.share = find_layout(stack, longest, config.row_length).shares

    def take_step(self, step: int) -> dict[str, float]:
        """Take one optimiser step of all gates; returns each expert's loss before it."""
        work = [
            (row, self.train[row][index])
            for row, batches in enumerate(self.batches)
            for index in batches[step]
        ]
        counts = torch.zeros(len(self.names))
        for row, example in work:
            counts[row] += len(example.target_ids)
        losses = torch.zeros(len(self.names))
        for part in self._divide(work):
            losses += self._pass_backward(part, counts)
        found = dict(zip(self.names, losses.tolist(), strict=True))
        for name, loss in found.items():
            if not math.isfinite(loss):
                raise TrainingError(
                    f"expert {name!r}: the loss of its gates is {loss} after {step} steps; lower "
                    f"learning_rate ({self.config.learning_rate:g}), or look at its examples"
                )
        factor = learning_rate_factor(step, self.config.num_steps, self.config.warmup_ratio, "linear")
        self.optimizer.param_groups[0]["lr"] = self.config.learning_rate * factor
        self.optimizer.step()
        self.optimizer.zero_grad()
        return found

    def gates(self) -> dict[str, Tensor]:
        """Give the gates as they are, ``[N, I]`` per module path."""
        found = {path: gates.detach().cpu() for path, gates in self.chooser.gates.items()}
        for path, gates in found.items():
            # The last step's update has been seen by no loss.
            for name, gate in zip(self.names, gates, strict=True):
                if not gate.isfinite().all():
                    raise TrainingError(
                        f"expert {name!r}: its gate of module {path!r} is not finite after "
                        f"{self.config.num_steps} steps; lower learning_rate ({self.config.learning_rate:g})"
                    )
        return found

    def _divide(self, work: Sequence[Work]) -> list[list[Work]]:
        groups = [row for row, _ in work] if self.share else None
        passes = plan_passes([example for _, example in work], groups, self.config.tokens_per_pass)
        return [[work[index] for index in members] for members in passes]

    def _pass_backward(self, work: Sequence[Work], counts: Tensor) -> Tensor:
        """Add one pass's gradients; returns each expert's share of its mean loss, ``[N]``."""
        rows = [row for row, _ in work]
        batch = pack_sequences(
            [example for _, example in work], self.config.row_length, groups=rows if self.share else None
        ).to(self.stack.model.device)
        row_of = torch.tensor(rows, device=batch.owner.device)
        inputs = batch.model_inputs(self.stack.model.dtype)
        # Whose each token is; padding is nobody's.
        expert_of = row_of[batch.owner.clamp(min=0)].where(batch.owner != PADDING, PADDING)
        with self.stack.choosing(self.chooser, rows=expert_of):
            losses = target_losses(self.stack.model, inputs, batch.positions, batch.labels)
        owner = row_of[batch.label_owner]
        parts = losses / counts.to(losses.device)[owner]
        parts.sum().backward()
        return losses.new_zeros(len(self.names)).index_add_(0, owner, parts.detach()).cpu()
