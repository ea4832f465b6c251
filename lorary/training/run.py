"""A training run in progress: many experts in one pass over the base model.

A batch holds examples of several experts, each assigned to its own slot; whatever concerns one expert (loss
mean, clipping, optimiser, schedule, early stop) is that expert's alone, so it comes out as if it had been
trained alone.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from lorary.data.tokens import TokenizedExample
from lorary.errors import TrainingError
from lorary.experts import Expert, ExpertCard
from lorary.models import BaseModel, attach_slots
from lorary.models.layers import BaseLayer
from lorary.passes import find_layout
from lorary.passes.prefixes import plan_passes
from lorary.training.config import TrainConfig
from lorary.training.examples import TrainingExamples
from lorary.training.finished import ExpectedExpert
from lorary.training.objective import example_losses
from lorary.training.progress import Progress
from lorary.training.run_folder import RunFolder
from lorary.training.slots import ExpertSlots
from lorary.training.trainee import Trainee, outline_training, plan_trainee

Work = tuple[int, TokenizedExample]
"""A slot, and an example for the expert in it."""


@dataclass(frozen=True)
class TrainEvent:
    """News from a run, after each pass: for progress bars."""

    num_steps: int
    """Optimiser steps taken, over all experts, restored ones included."""
    total_steps: int
    """Steps that all experts' plans add up to (early stops make it fewer)."""
    num_tokens: int
    """Tokens trained on since this run was started or resumed."""
    finished: Mapping[str, Expert]
    """Experts that are done, those of earlier calls included."""
    losses: Mapping[str, float]
    """Last training loss of each expert in training."""

    @property
    def num_finished(self) -> int:
        """How many experts are done."""
        return len(self.finished)


class Run:
    """One run in progress; its public methods are the loop's steps, in their order.

    Args:
        base: the base model; carries experts until ``stack.detach()``.
        layers: those of its layers that get experts, by module path.
        examples: expert name -> tokens.
        config: how to train.
        folder: the run's files.
        on_progress: called after every pass.
    """

    def __init__(
        self,
        base: BaseModel,
        layers: Mapping[str, BaseLayer],
        examples: Mapping[str, TrainingExamples],
        config: TrainConfig,
        folder: RunFolder,
        on_progress: Callable[[TrainEvent], None] | None,
    ):
        self.base, self.examples, self.config, self.folder = base, examples, config, folder
        self.on_progress = on_progress
        self.plans = {
            name: outline_training(plan_trainee(name, found, config), found, config)
            for name, found in examples.items()
        }
        base.model.to(Accelerator(cpu=base.model.device.type == "cpu").device)
        everything = [example for found in examples.values() for example in (*found.train, *found.validation)]
        self.fan_in_fan_out = isinstance(next(iter(layers.values())), Conv1D)
        self.stack = attach_slots(base.model, layers, min(config.num_slots, len(examples)), config.rank)
        self.share = find_layout(self.stack, max(map(len, everything)), config.row_length).shares
        self.slots = ExpertSlots(self.stack)
        self.active: dict[int, Trainee] = {}
        self.done: dict[str, tuple[Expert, Progress]] = {}
        self.num_tokens = 0
        self.saved_at = time.monotonic()

    def take_up(self) -> None:
        """Find what an earlier run finished, and put back the experts it was training."""
        for name in self.examples:
            finished = self.folder.finished(self._expect(name))
            if finished is not None:
                self.done[name] = finished
        for slot, (name, (tensors, progress)) in enumerate(self._saved_trainees()):
            self.active[slot] = self._admit(name, slot)
            self.active[slot].restore(tensors, progress)
        self.release_finished()

    def _expect(self, name: str) -> ExpectedExpert:
        """Say what an expert that this run has finished is like."""
        layers = self.stack.layers.items()
        return ExpectedExpert(
            name=name,
            shapes={
                path: (tuple(layer.a.shape[1:]), tuple(layer.b_t.shape[:0:-1])) for path, layer in layers
            },
            base_fingerprint=self.base.fingerprint,
            data_digest=self.examples[name].digest,
            config=self.config,
            plan=self.plans[name],
        )

    def _saved_trainees(self) -> list[tuple[str, tuple[dict[str, Tensor], Progress]]]:
        saved = self.folder.load_state(
            self.plans, num_parameters=self.slots.num_parameters, num_slots=self.slots.num_slots
        )
        return [(name, saved[name]) for name in self.examples if name in saved and name not in self.done]

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
        try:
            losses = self._run_passes(batches)
        except KeyboardInterrupt:
            # Nothing of this step has reached an expert yet.
            self._save_state()
            raise
        for slot, trainee in self.active.items():
            self._check_finite(trainee, "loss", losses[slot])
            trainee.step()
            num_tokens = sum(map(len, batches[slot]))
            trainee.record_step(losses[slot], num_tokens)
            self.num_tokens += num_tokens

    def _run_passes(self, batches: Mapping[int, list[TokenizedExample]]) -> dict[int, float]:
        """Add the gradients of each slot's batch; returns each slot's mean loss."""
        work = [(slot, example) for slot, batch in batches.items() for example in batch]
        num_targets = {
            slot: sum(len(example.target_ids) for example in batch) for slot, batch in batches.items()
        }
        losses = dict.fromkeys(batches, 0.0)
        for part in self._divide(work):
            for slot, loss in self._pass_backward(part, num_targets).items():
                losses[slot] += loss
            self._report()
        return losses

    def _divide(self, work: list[Work]) -> list[list[Work]]:
        """Cut work into passes."""
        groups = [slot for slot, _ in work] if self.share else None
        passes = plan_passes([example for _, example in work], groups, self.config.tokens_per_pass)
        return [[work[index] for index in members] for members in passes]

    def _pass_backward(self, work: list[Work], num_targets: Mapping[int, int]) -> dict[int, float]:
        """Add one pass's gradients; returns each slot's share of its mean loss."""
        slots, examples = [slot for slot, _ in work], [example for _, example in work]
        losses, owner = self._losses(examples, slots)
        share = torch.tensor([1.0 / num_targets[slot] for slot in slots], device=losses.device)
        parts = share[owner] * losses
        self.slots.add_gradients(parts.sum())
        slot_of = torch.tensor(slots, device=owner.device)[owner]
        sums = torch.zeros(self.slots.num_slots, device=losses.device).index_add_(0, slot_of, parts.detach())
        return {slot: float(sums[slot]) for slot in set(slots)}

    def _losses(self, examples: list[TokenizedExample], slots: list[int]) -> tuple[Tensor, Tensor]:
        return example_losses(
            self.stack,
            examples,
            slots,
            scale=self.config.scale,
            row_length=self.config.row_length,
            share=self.share,
        )

    def _check_finite(self, trainee: Trainee, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"expert {trainee.name!r}: the {what} is {value} after {trainee.progress.step} steps; "
                f"lower learning_rate ({self.config.learning_rate:g}) and run again with fresh=True "
                "(--fresh), or look at its examples"
            )

    @torch.no_grad()
    def validate(self) -> None:
        """Measure the validation loss of the experts for which it is due."""
        due = [trainee for trainee in self.active.values() if trainee.is_due()]
        work = [(trainee.slot, example) for trainee in due for example in trainee.examples.validation]
        sums: dict[int, float] = dict.fromkeys((slot for slot, _ in work), 0.0)
        for part in self._divide(work):
            slots = [slot for slot, _ in part]
            losses, owner = self._losses([example for _, example in part], slots)
            for index, loss in zip(owner.tolist(), losses.tolist(), strict=True):
                sums[slots[index]] += loss
        for trainee in due:
            count = sum(len(example.target_ids) for example in trainee.examples.validation)
            self._check_finite(trainee, "validation loss", sums[trainee.slot] / count)
            trainee.record_validation(sums[trainee.slot] / count)

    def release_finished(self) -> None:
        """Keep finished experts and free their slots; save the state when that is due."""
        finished = [slot for slot, trainee in self.active.items() if trainee.progress.is_finished]
        for slot in finished:
            self._check_finite(
                self.active[slot], "sum of weights", float(self.active[slot].final_values().sum())
            )
        if finished or time.monotonic() - self.saved_at >= self.config.checkpoint_seconds:
            # Saved with the finished ones in it: a kill before their folders are written loses nothing.
            self._save_state()
        for slot in finished:
            trainee = self.active.pop(slot)
            expert = self._export(trainee)
            self.folder.finish(expert, trainee.progress)
            self.done[trainee.name] = (expert, trainee.progress)
            self._report()

    def _save_state(self) -> None:
        self.folder.save_state({t.name: (t.tensors(), t.progress) for t in self.active.values()})
        self.saved_at = time.monotonic()

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
        steps += sum(self.plans[name].num_steps for name in self.done)
        losses = {
            t.name: t.progress.train_curve[-1][1] for t in self.active.values() if t.progress.train_curve
        }
        finished = {name: expert for name, (expert, _) in self.done.items()}
        total = sum(plan.num_steps for plan in self.plans.values())
        self.on_progress(TrainEvent(steps, total, self.num_tokens, finished, losses))
