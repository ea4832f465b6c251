"""Measuring a transfer matrix: the missing cells are trained in the same passes, finished ones are kept."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from lorary.adaptation.follow import follow_experts
from lorary.adaptation.transfer_matrix.cell_store import CellStore, make_cell_key
from lorary.adaptation.transfer_matrix.kinds import START_KINDS
from lorary.adaptation.transfer_matrix.matrix import BASE, FRESH, Cell, TransferMatrix
from lorary.adaptation.transfer_matrix.objective import TransferCells
from lorary.adaptation.transfer_matrix.starts import ACTION, Start, list_starts
from lorary.errors import DataError
from lorary.experts import Expert, hash_weights
from lorary.experts.routed import list_routed
from lorary.files import quote
from lorary.library.general import take_general
from lorary.models import BaseModel, find_layers
from lorary.models.attach import attach_slots
from lorary.models.check_base import check_base
from lorary.models.fit_paths import fit_paths
from lorary.models.parts.changed import keep_low_rank_on
from lorary.models.standing import general_on
from lorary.training import TrainConfig, TrainingExamples
from lorary.training.config import list_effective
from lorary.training.example_checks import check_training_examples
from lorary.training.loop.event import TrainEvent
from lorary.training.loop.loop import Loop
from lorary.training.memory import check_memory

DEFAULT_CONFIG = TrainConfig(max_tokens=4000, batch_size=4)
ONLY_ENDS = 10**9
"""Steps between validations, so that validation takes place only before the first and after the last step."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The parts of a matrix."""

    starts: Mapping[str, Start | None]
    """Name -> start; None for the fresh expert."""
    examples: Mapping[str, TrainingExamples]
    """New task -> examples."""
    config: TrainConfig
    keys: Mapping[tuple[str, str], str]
    """Start and task -> key of the cell."""
    general: Expert | None
    """The general expert that the experts build on, active in all cells; None for none."""


def transfer(
    base: BaseModel,
    experts: Mapping[str, Expert],
    examples: Mapping[str, TrainingExamples],
    folder: str | Path,
    config: TrainConfig = DEFAULT_CONFIG,
    *,
    names: Sequence[str] | None = None,
    starts: Sequence[str] = tuple(START_KINDS),
    on_progress: Callable[[TrainEvent[Cell]], None] | None = None,
) -> TransferMatrix:
    """Train every start on every new task with the same budget; measure the validation loss before and after.

    Controls are ``fresh``, a new expert with the same training, and ``base``, the base model alone. All
    trainings on a task use the same examples in the same order. A finished cell is kept in a file named by
    the hash of everything that it depends on, so a second call, or one with a further expert or task,
    measures only what is missing.

    Args:
        base: the base model, without experts attached.
        experts: a library or any other mapping.
        examples: new task -> its examples, see ``prepare_examples``; validation examples are needed too.
        folder: folder of the finished cells.
        config: the training. Rank and layers are those of the experts (the largest rank, all layers that any
            of them changes). The validation loss is measured before the first and after the last step
            only, and there is no early stopping, so that all cells have the same budget.
        names: the experts; None for those that ``list_routed`` lists, without those that have more than
            low-rank factors.
        starts: kinds of starts, keys of ``START_KINDS``.
        on_progress: called after every pass.

    Returns:
        The matrix.

    Raises:
        ValueError: if there is no expert or task, a kind of starts is unknown, or the base model cannot read
            an example.
        UnknownExpert: if there is no expert of a name.
        DataError: if a task has no training or no validation examples.
        IncompatibleExpert: if experts do not fit the base model, or it has experts attached.
        TrainingError: if a loss is not finite, or the training needs more memory than is free.
        FormatError: if a finished cell's file is damaged.
    """
    plan = _plan(base, experts, examples, config, names, starts)
    store = CellStore(Path(folder))
    cells = {key: cell for key in plan.keys.values() if (cell := store.load(key)) is not None}
    missing = {place: key for place, key in plan.keys.items() if key not in cells}
    if missing:

        def keep(event: TrainEvent[Cell]) -> None:
            for key, cell in event.finished.items():
                if key not in cells:
                    store.save(key, cell)
                    cells[key] = cell
            if on_progress is not None:
                on_progress(event)

        _measure(base, plan, missing, keep)
    return _assemble(base, plan, cells)


def _plan(
    base: BaseModel,
    experts: Mapping[str, Expert],
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
    names: Sequence[str] | None,
    kinds: Sequence[str],
) -> _Plan:
    _check_tasks(base, examples)
    chosen = (
        list(names)
        if names is not None
        else keep_low_rank_on(base.model, experts, list_routed(experts), ACTION)
    )
    known = {name: experts[name] for name in chosen if name in experts}
    if known:
        check_base(base, *known.values())
        config = follow_experts(config, fit_paths(base.model, known).values())
    config = replace(config, validate_every=ONLY_ENDS, patience=None)
    general = take_general(experts, chosen) if known else None
    found = list_starts(experts, chosen, kinds, config.rank, taken=(FRESH, BASE))
    everyone: dict[str, Start | None] = {FRESH: None, **found}
    keys = {
        (name, task): make_cell_key(
            {
                "start": ["fresh"] if start is None else list(start.identity),
                "task": own.digest,
                "base": base.fingerprint,
                "config": list_effective(config),
                **({} if general is None else {"general expert": hash_weights(general)}),
            }
        )
        for task, own in examples.items()
        for name, start in everyone.items()
    }
    return _Plan(starts=everyone, examples=examples, config=config, keys=keys, general=general)


def _check_tasks(base: BaseModel, examples: Mapping[str, TrainingExamples]) -> None:
    if not examples:
        raise ValueError(
            "there must be at least one new task, found none: pass examples of at least one task"
        )
    for split in ("train", "validation"):
        empty = [task for task, found in examples.items() if not getattr(found, split)]
        if empty:
            more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
            raise DataError(
                f"every new task must have training and validation examples, found no {split} examples in "
                f"{quote(empty[0])}{more}: give the task both splits, or more examples"
            )
    for task, found in examples.items():
        check_training_examples(task, found, base.model)


def _measure(
    base: BaseModel,
    plan: _Plan,
    missing: Mapping[tuple[str, str], str],
    keep: Callable[[TrainEvent[Cell]], None],
) -> None:
    """Train the missing cells."""
    # Equal experts under two names are one cell. Units are named by the cells' keys, and examples are drawn
    # by the task's digest, so that a cell depends on nothing but what its key contains.
    labels = {key: place for place, key in missing.items()}
    own = {key: plan.examples[task] for key, (_, task) in labels.items()}
    examples = {key: replace(found, order=found.digest) for key, found in own.items()}
    begun = {
        key: start.expert for key, (name, _) in labels.items() if (start := plan.starts[name]) is not None
    }
    layers = find_layers(base.model, plan.config.target_modules)
    check_memory(base.model.device, layers, plan.config, len(examples))
    with nullcontext() if plan.general is None else general_on(base.model, plan.general):
        stack = attach_slots(base.model, layers, min(plan.config.num_slots, len(examples)), plan.config.rank)
        try:
            objective = TransferCells(stack, base, examples, plan.config, begun, labels)
            settings = replace(plan.config.loop, validate_start=True)
            Loop(objective, examples, settings, after_pass=keep).run()
        finally:
            stack.detach()


def _assemble(base: BaseModel, plan: _Plan, cells: Mapping[str, Cell]) -> TransferMatrix:
    """Assemble the cells; those of the base model equal those of a fresh expert before its training."""
    rows = {name: {task: cells[plan.keys[name, task]] for task in plan.examples} for name in plan.starts}
    alone = {
        task: Cell(before=cell.before, after=cell.before, num_steps=0, num_tokens=0)
        for task, cell in rows[FRESH].items()
    }
    parts = {name: () if start is None else start.parts for name, start in plan.starts.items()}
    return TransferMatrix(
        starts={FRESH: (), BASE: (), **parts},
        tasks={task: len(found.validation) for task, found in plan.examples.items()},
        cells={FRESH: rows[FRESH], BASE: alone, **rows},
        settings={
            "base_model": base.name,
            "base_fingerprint": base.fingerprint,
            "training": list_effective(plan.config),
        },
    )
