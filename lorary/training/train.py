"""Training many experts in one pass over the base model.

A batch holds examples of several experts, each assigned to its own slot; whatever concerns one expert (loss mean,
clipping, optimiser, schedule, early stop) is that expert's alone, so it comes out as if it had been trained alone.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from lorary.data.packing import split_passes
from lorary.data.tokens import TokenizedExample
from lorary.errors import TrainingError
from lorary.experts import Expert, ExpertCard
from lorary.models import BaseModel, attach_slots, find_layers
from lorary.training.config import TrainConfig
from lorary.training.examples import TrainingExamples
from lorary.training.objective import example_losses
from lorary.training.run_folder import RunFolder
from lorary.training.slots import ExpertSlots
from lorary.training.trainee import Progress, Trainee, plan_trainee


@dataclass(frozen=True)
class TrainEvent:
    """News from a run, after each pass: for progress bars."""

    num_steps: int
    """Optimiser steps taken, over all experts, restored ones included."""
    total_steps: int
    """Steps that all experts' plans add up to (early stops make it fewer)."""
    num_tokens: int
    """Tokens trained on since this run was started or resumed."""
    num_finished: int
    """Experts that are done."""
    losses: Mapping[str, float]
    """Last training loss of each expert in training."""


@dataclass(frozen=True)
class TrainOutcome:
    """What a run gives: experts and their curves."""

    experts: dict[str, Expert]
    """In the order they were asked for."""
    progress: dict[str, Progress]
    """Steps, tokens, loss curves, best validation loss."""


def train_experts(
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
    run_folder: str | Path,
    *,
    fresh: bool = False,
    on_progress: Callable[[TrainEvent], None] | None = None,
) -> TrainOutcome:
    """Train one expert per entry, many at once, resuming whatever an earlier call left in the run folder.

    Args:
        base: the base model; carries no experts before and after.
        examples: expert name -> tokens, see ``prepare_examples``.
        config: how to train.
        run_folder: where the resumable state, finished experts and curves are kept.
        fresh: start over instead of resuming.
        on_progress: called after every pass.

    Returns:
        The experts (best validated weights, or the last) and their curves.

    Raises:
        ValueError: if there is nothing to train.
        TrainingError: if the folder holds another run, or a loss is not finite.
    """
    if not examples:
        raise ValueError("there is nothing to train: give at least one expert's examples")
    folder = RunFolder(run_folder, _identify(base, examples, config), fresh=fresh)
    run = _Run(base, examples, config, folder, on_progress)
    try:
        run.take_up()
        while run.fill_slots():
            run.take_step()
            run.validate()
            run.release_finished()
        return TrainOutcome(
            {name: run.done[name][0] for name in examples}, {name: run.done[name][1] for name in examples}
        )
    finally:
        run.stack.detach()


class _Run:
    """One run in progress; its methods are the loop's steps, in their order."""

    def __init__(
        self,
        base: BaseModel,
        examples: Mapping[str, TrainingExamples],
        config: TrainConfig,
        folder: RunFolder,
        on_progress: Callable[[TrainEvent], None] | None,
    ):
        self.base, self.examples, self.config, self.folder = base, examples, config, folder
        self.on_progress = on_progress
        base.model.to(Accelerator(cpu=base.model.device.type == "cpu").device)
        layers = find_layers(base.model, config.target_modules)
        self.fan_in_fan_out = isinstance(next(iter(layers.values())), Conv1D)
        self.stack = attach_slots(base.model, layers, min(config.num_slots, len(examples)), config.rank)
        self.slots = ExpertSlots(self.stack)
        self.plan_lengths = {name: len(plan_trainee(name, examples[name], config)) for name in examples}
        self.active: dict[int, Trainee] = {}
        self.done: dict[str, tuple[Expert, Progress]] = {}
        self.num_tokens = 0
        self.saved_at = time.monotonic()

    def take_up(self) -> None:
        """Find what an earlier run finished, and put back the experts it was training."""
        for name in self.examples:
            finished = self.folder.finished(name)
            if finished is not None:
                self.done[name] = finished
        for slot, (name, (tensors, progress)) in enumerate(self._saved_trainees()):
            self.active[slot] = self._admit(name, slot)
            self.active[slot].restore(tensors, progress)
        self.release_finished()

    def _saved_trainees(self) -> list[tuple[str, tuple[dict[str, Tensor], Progress]]]:
        return [item for item in self.folder.load_state().items() if item[0] not in self.done]

    def fill_slots(self) -> bool:
        """Let waiting experts into free slots; false when no expert is left to train."""
        training = {trainee.name for trainee in self.active.values()}
        waiting = [name for name in self.examples if name not in self.done and name not in training]
        free = [slot for slot in range(self.slots.num_slots) if slot not in self.active]
        for slot, name in zip(free, waiting, strict=False):
            self.active[slot] = self._admit(name, slot)
        return bool(self.active)

    def _admit(self, name: str, slot: int) -> Trainee:
        return Trainee(name, self.examples[name], self.slots, slot, self.config)

    def take_step(self) -> None:
        """Take one optimiser step of every active expert, over as many passes as their batches need."""
        batches = {slot: trainee.next_batch() for slot, trainee in sorted(self.active.items())}
        work = [(slot, example) for slot, batch in batches.items() for example in batch]
        num_targets = {slot: sum(len(example.target_ids) for example in batch) for slot, batch in batches.items()}
        losses = dict.fromkeys(batches, 0.0)
        for part in split_passes([len(example) for _, example in work], self.config.tokens_per_pass):
            for slot, loss in self._pass_backward(work[part], num_targets).items():
                losses[slot] += loss
            self._report()
        for slot, trainee in self.active.items():
            self._check_loss(trainee, losses[slot])
            trainee.step()
            num_tokens = sum(map(len, batches[slot]))
            trainee.record_step(losses[slot], num_tokens)
            self.num_tokens += num_tokens

    def _pass_backward(
        self, work: list[tuple[int, TokenizedExample]], num_targets: Mapping[int, int]
    ) -> dict[int, float]:
        """Add one pass's gradients; returns each slot's share of its mean loss."""
        slots, examples = [slot for slot, _ in work], [example for _, example in work]
        losses, owner = self._losses(examples, slots)
        shares = torch.tensor([1.0 / num_targets[slot] for slot in slots], device=losses.device)[owner] * losses
        self.slots.add_gradients(shares.sum())
        slot_of = torch.tensor(slots, device=owner.device)[owner]
        sums = torch.zeros(self.slots.num_slots, device=losses.device).index_add(0, slot_of, shares.detach()).tolist()
        return {slot: sums[slot] for slot in set(slots)}

    def _losses(self, examples: list[TokenizedExample], slots: list[int]) -> tuple[Tensor, Tensor]:
        return example_losses(
            self.stack, examples, slots, scale=self.config.scale, row_length=self.config.row_length
        )

    def _check_loss(self, trainee: Trainee, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"expert {trainee.name!r}: the loss is {loss} at step {trainee.progress.step + 1}; lower learning_rate "
                f"({self.config.learning_rate:g}) and run again with fresh=True (--fresh), or look at its examples"
            )

    @torch.no_grad()
    def validate(self) -> None:
        """Measure the validation loss of the experts for which it is due."""
        due = [trainee for trainee in self.active.values() if trainee.is_due()]
        work = [(trainee.slot, example) for trainee in due for example in trainee.examples.validation]
        sums: dict[int, float] = dict.fromkeys((slot for slot, _ in work), 0.0)
        for part in split_passes([len(example) for _, example in work], self.config.tokens_per_pass):
            slots = [slot for slot, _ in work[part]]
            losses, owner = self._losses([example for _, example in work[part]], slots)
            for index, loss in zip(owner.tolist(), losses.tolist(), strict=True):
                sums[slots[index]] += loss
        for trainee in due:
            count = sum(len(example.target_ids) for example in trainee.examples.validation)
            trainee.record_validation(sums[trainee.slot] / count)

    def release_finished(self) -> None:
        """Keep finished experts and free their slots; save the state when that is due."""
        finished = [slot for slot, trainee in self.active.items() if trainee.progress.is_finished]
        if finished or time.monotonic() - self.saved_at >= self.config.checkpoint_seconds:
            # Saved with the finished ones in it: a kill before their folders are written loses nothing.
            self.folder.save_state({t.name: (t.tensors(), t.progress) for t in self.active.values()})
            self.saved_at = time.monotonic()
        for slot in finished:
            trainee = self.active.pop(slot)
            expert = self._export(trainee)
            self.folder.finish(expert, trainee.progress)
            self.done[trainee.name] = (expert, trainee.progress)
            self._report()

    def _export(self, trainee: Trainee) -> Expert:
        progress, examples = trainee.progress, trainee.examples
        scores = {} if progress.best_loss is None else {"validation_loss": progress.best_loss}
        card = ExpertCard(
            tasks=examples.tasks,
            base_revision=self.base.revision,
            base_fingerprint=self.base.fingerprint,
            provenance={
                "training": asdict(self.config),
                "data": {"digest": examples.digest, "num_train": len(examples.train)},
                "steps": progress.step,
                "best_step": progress.best_step,
                "tokens": progress.tokens,
            },
            scores=scores,
            fan_in_fan_out=self.fan_in_fan_out,
        )
        factors = self.slots.export(trainee.final_values(), self.config.scale)
        return Expert(trainee.name, self.base.name, factors, card)

    def _report(self) -> None:
        if self.on_progress is None:
            return
        steps = sum(trainee.progress.step for trainee in self.active.values())
        # A finished expert counts as its whole plan, so that an early stop does not hold the bar back.
        steps += sum(self.plan_lengths[name] for name in self.done)
        losses = {t.name: t.progress.train_curve[-1][1] for t in self.active.values() if t.progress.train_curve}
        self.on_progress(
            TrainEvent(steps, sum(self.plan_lengths.values()), self.num_tokens, len(self.done), losses)
        )


def _identify(
    base: BaseModel, examples: Mapping[str, TrainingExamples], config: TrainConfig
) -> dict[str, object]:
    # How often the state is saved and how many tokens share a pass do not change what comes out.
    settings = {
        key: value for key, value in asdict(config).items() if key not in ("checkpoint_seconds", "tokens_per_pass")
    }
    return {
        "configuration": settings,
        "base model": base.fingerprint,
        "examples": {name: found.digest for name, found in examples.items()},
    }
