"""The training loop, which trains several units in the same passes over the model.

A batch has examples of several units, each in its own slot. Each unit has its own mean loss, optimiser,
schedule and early stopping, so its result is the same as if it were trained alone.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Generic

from lorary.models.checkpointing import checkpoint_layers
from lorary.training.examples import TrainingExamples
from lorary.training.folder.run_folder import RunFolder
from lorary.training.loop.batch_losses import BatchLosses
from lorary.training.loop.contract import Objective, Product
from lorary.training.loop.event import TrainEvent
from lorary.training.loop.settings import LoopSettings
from lorary.training.loop.trainee import Trainee, find_state_fault, outline_unit, plan_unit
from lorary.training.progress import UnitProgress


class Loop(Generic[Product]):
    """One run in progress.

    Args:
        objective: the objective.
        examples: unit -> its examples.
        settings: settings of the loop.
        folder: the run folder, to resume from and to write state and finished units to; None: none.
        after_pass: called after every pass, and when a unit is finished.
        after_round: called after each round, in which every unit in training takes a step, with the progress
            of these units.
    """

    def __init__(
        self,
        objective: Objective[Product],
        examples: Mapping[str, TrainingExamples],
        settings: LoopSettings,
        *,
        folder: RunFolder[Product] | None = None,
        after_pass: Callable[[TrainEvent[Product]], None] | None = None,
        after_round: Callable[[Mapping[str, UnitProgress]], None] | None = None,
    ):
        self.objective, self.examples, self.settings, self.folder = objective, examples, settings, folder
        self.after_pass, self.after_round = after_pass, after_round
        self.plans = {
            name: outline_unit(plan_unit(name, found, settings), found, settings)
            for name, found in examples.items()
        }
        everything = [example for found in examples.values() for example in (*found.train, *found.validation)]
        self.batch_losses = BatchLosses(objective, settings, max(map(len, everything)))
        self.active: dict[int, Trainee] = {}
        self.done: dict[str, tuple[Product, UnitProgress]] = {}
        self.num_tokens = 0
        self.saved_at = time.monotonic()

    def run(self) -> dict[str, tuple[Product, UnitProgress]]:
        """Train every unit to its end, starting from the folder's saved state if there is one.

        Returns:
            Unit -> its product and its progress, in the order of the examples.

        Raises:
            TrainingError: if a unit cannot continue, or the folder cannot be used.
        """
        self._take_up()
        keeps_less = self.settings.gradient_checkpointing
        with checkpoint_layers(self.objective.stack) if keeps_less else nullcontext():
            while self._fill_slots():
                # New units may have a validation before their first step, or no steps.
                self._validate()
                if any(trainee.progress.is_finished for trainee in self.active.values()):
                    self._release_finished()
                    continue
                self._take_round()
                self._validate()
                self._release_finished()
        self._save_state()
        return {name: self.done[name] for name in self.examples}

    def _take_up(self) -> None:
        """Read finished units from the folder, and resume the units that were in training."""
        if self.folder is None:
            return
        for name in self.examples:
            finished = self.folder.finished(name, self.plans[name])
            if finished is not None:
                self.done[name] = finished
        saved = self.folder.load_state(
            self.plans,
            find_fault=lambda tensors, progress: find_state_fault(tensors, progress, self.objective),
            num_slots=self.objective.rows.num_slots,
        )
        names = [name for name in self.examples if name in saved and name not in self.done]
        for slot, name in enumerate(names):
            self.active[slot] = self._admit(name, slot)
            self.active[slot].restore(*saved[name])
        self._release_finished()

    def _fill_slots(self) -> bool:
        """Put waiting units into free slots; return False if no unit is left to train."""
        training = {trainee.name for trainee in self.active.values()}
        waiting = [name for name in self.examples if name not in self.done and name not in training]
        free = [slot for slot in range(self.objective.rows.num_slots) if slot not in self.active]
        for slot, name in zip(free, waiting, strict=False):
            self.active[slot] = self._admit(name, slot)
        return bool(self.active)

    def _admit(self, name: str, slot: int) -> Trainee:
        return Trainee(name, self.examples[name], self.objective, slot, self.settings)

    def _take_round(self) -> None:
        """Take one step of every active unit, over as many passes as their batches need."""
        batches = {slot: trainee.next_batch() for slot, trainee in sorted(self.active.items())}
        with self._saved_on_interrupt():
            losses = self.batch_losses.add_gradients(batches, self._report)
        for slot, trainee in self.active.items():
            trainee.step(self._check(trainee, "loss", losses[slot]))
            self.num_tokens += sum(map(len, batches[slot]))
        if self.after_round is not None:
            self.after_round({trainee.name: trainee.progress for trainee in self.active.values()})

    @contextmanager
    def _saved_on_interrupt(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            # No unit has taken this step yet, so its state is consistent.
            self._save_state()
            raise

    def _check(self, trainee: Trainee, what: str, loss: float) -> float:
        return self.objective.check_loss(trainee.name, what, loss, trainee.progress.step)

    def _validate(self) -> None:
        """Measure the validation loss of the units for which it is due."""
        due = [trainee for trainee in self.active.values() if trainee.is_due()]
        losses = self.batch_losses.measure({trainee.slot: trainee.examples.validation for trainee in due})
        for trainee in due:
            trainee.record_validation(self._check(trainee, "validation loss", losses[trainee.slot]))

    def _release_finished(self) -> None:
        """Store finished units and free their slots; save the state when it is due."""
        finished = {
            slot: self.objective.export(trainee.name, trainee.final_values(), trainee.progress)
            for slot, trainee in self.active.items()
            if trainee.progress.is_finished
        }
        if finished or time.monotonic() - self.saved_at >= self.settings.checkpoint_seconds:
            # The state includes the finished units: if the process is killed before their folders are
            # written, nothing is lost.
            self._save_state()
        for slot, product in finished.items():
            trainee = self.active.pop(slot)
            if self.folder is not None:
                self.folder.finish(trainee.name, product, trainee.progress)
            self.done[trainee.name] = (product, trainee.progress)
            self._report()

    def _save_state(self) -> None:
        if self.folder is not None:
            self.folder.save_state({t.name: (t.tensors(), t.progress) for t in self.active.values()})
        self.saved_at = time.monotonic()

    def _report(self) -> None:
        if self.after_pass is None:
            return
        steps = sum(trainee.progress.step for trainee in self.active.values())
        # A finished unit counts with all steps of its plan, so that the bar reaches its end after
        # early stopping.
        steps += sum(self.plans[name].num_steps for name in self.done)
        losses = {
            t.name: t.progress.train_curve[-1][1] for t in self.active.values() if t.progress.train_curve
        }
        finished = {name: product for name, (product, _) in self.done.items()}
        total = sum(plan.num_steps for plan in self.plans.values())
        progress = {name: found for name, (_, found) in self.done.items()}
        progress |= {trainee.name: trainee.progress for trainee in self.active.values()}
        self.after_pass(TrainEvent(steps, total, self.num_tokens, finished, losses, progress))
