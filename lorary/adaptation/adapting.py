"""Adapting a library of experts to new tasks."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lorary.adaptation.checks import ORIGIN, check_arguments, list_candidates
from lorary.adaptation.chosen import whole_library
from lorary.adaptation.config import AdaptConfig, fit_train
from lorary.adaptation.event import AdaptEvent
from lorary.adaptation.fine_tuning import fine_tune
from lorary.adaptation.folder import RETRIEVED, SECONDS, AdaptFolder
from lorary.adaptation.methods.contract import Context, NewTask, Trained, Weights
from lorary.adaptation.methods.table import METHODS
from lorary.adaptation.retrieval import RetrievalContext, retrieve
from lorary.experts import Expert
from lorary.experts.roles import EXPERT
from lorary.library import Library
from lorary.models import BaseModel
from lorary.training import TrainConfig, TrainingExamples
from lorary.training.config import list_effective
from lorary.training.folder.lock import hold_run_folder
from lorary.training.loop.trainee import plan_unit
from lorary.training.progress import UnitProgress
from lorary.training.starts import hash_start


@dataclass(frozen=True, kw_only=True)
class AdaptedTask:
    """The result for one task."""

    expert: Expert
    """The new expert; its card has parents, method, selected experts and their weights."""
    progress: UnitProgress
    """Steps, tokens trained on, curves."""
    scores: Mapping[str, float | None]
    """The experts that the method could use, with their scores of the retrieval."""
    weights: Weights
    """The experts that the new one was made of or began with, and their weights; empty for a new one."""
    num_read: int
    """Tokens that were read before the training, by retrieval and by the choice of a start."""
    error: float
    """Relative error of the start, or of a weighted sum, by the cut to its rank."""

    @property
    def num_tokens(self) -> int:
        """The seen tokens: read before the training, and trained on."""
        return self.num_read + self.progress.tokens


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """The result of an adaptation."""

    tasks: dict[str, AdaptedTask]
    """Task -> its result, in the order of the examples."""
    seconds: float
    """Time for all tasks together, without sessions that were killed."""

    @property
    def experts(self) -> dict[str, Expert]:
        """Task -> its expert."""
        return {name: found.expert for name, found in self.tasks.items()}


def adapt(
    base: BaseModel,
    experts: Mapping[str, Expert],
    examples: Mapping[str, TrainingExamples],
    config: AdaptConfig,
    run_folder: str | Path,
    *,
    own_examples: Mapping[str, TrainingExamples] | None = None,
    router_options: Mapping[str, Any] | None = None,
    trust_base: bool = False,
    fresh: bool = False,
    on_progress: Callable[[AdaptEvent], None] | None = None,
) -> Adapted:
    """Make an expert for each new task, from a library of experts and a few examples.

    Every method has the same budget of tokens for a task: those of the plan of a new expert's training, which
    follow from ``config.train``. Tokens that are read before, by retrieval and by the choice of a start,
    count; the training is shorter by as many. Validation is the same for all methods and does not count.

    Args:
        base: the base model, used on its current device. It must have no experts, and has none afterwards.
        experts: a library, for those of its experts that are used if none are named; or a choice of them
            (``library.routed(…)``), or any other mapping, for all of it. A library stores what is computed
            about its experts. Experts that an adaptation to these tasks has made are left out.
        examples: new task -> its few examples, see ``prepare_few``. The names are those of the new experts.
        config: the configuration; the seed is that of ``config.train``.
        run_folder: folder of the resumable state. A finished run is read from it.
        own_examples: expert -> examples of its own task, for retrieval by embedding.
        router_options: options of the calibrated router, where it is used.
        trust_base: whether to use experts that name another base model, with a warning.
        fresh: start over instead of resuming.
        on_progress: called while the run works.

    Returns:
        For each task its expert, and how it was made.

    Raises:
        ValueError: with all faults, if the configuration does not suit the experts or a task.
        DataError: if a task has no examples.
        IncompatibleExpert: if an expert is for another base model, or the base model has experts already.
        TrainingError: if the folder has another run, is damaged or in use, or a loss is not finite.
    """
    tell = on_progress or (lambda event: None)
    candidates = list_candidates(experts, config, examples)
    # Experts that are named need not be among the candidates.
    experts = whole_library(experts)
    check_arguments(base, experts, candidates, examples, config, trust_base)
    method = METHODS[config.method]
    train = fit_train(config, [experts[name].max_rank for name in (candidates or experts)])
    with hold_run_folder(run_folder):
        identity = {
            "configuration": {**asdict(config), "train": list_effective(config.train)},
            "rank": train.rank,
            "base model": base.fingerprint,
            "experts": _hash_experts(experts, [*candidates, *_list_named(config)]),
            "examples": [[task, found.digest] for task, found in examples.items()],
        }
        folder = AdaptFolder(run_folder, identity, fresh=fresh)
        context = Context(
            base=base,
            experts=experts,
            config=config,
            train=train,
            folder=folder.training,
            router_options=router_options or {},
            trust_base=trust_base,
            on_progress=tell,
        )
        with _timed(folder) as seconds:
            tasks = _retrieve_all(context, folder, candidates, examples, own_examples or {})
            if method.kind == "training":
                found = {
                    name: _finish(context, tasks[name], own, 0)
                    for name, own in method.train(context, tasks).items()
                }
            else:
                found = {
                    name: _finish(context, tasks[name], own, num_tokens)
                    for name, (own, num_tokens) in fine_tune(context, folder, tasks).items()
                }
        return Adapted(tasks={name: found[name] for name in examples}, seconds=seconds[0])


def plan_tokens(name: str, examples: TrainingExamples, train: TrainConfig) -> int:
    """Return the budget of a task: the tokens of the plan of a new expert's training."""
    lengths = [len(example) for example in examples.train]
    plan = plan_unit(name, replace(examples, spent_tokens=0), train.loop)
    return sum(lengths[index] for batch in plan for index in batch)


def _list_named(config: AdaptConfig) -> list[str]:
    return [config.multi_task] if config.multi_task is not None else []


def _hash_experts(experts: Mapping[str, Expert], names: list[str]) -> dict[str, str]:
    if isinstance(experts, Library):
        known = experts.weight_hashes()
        return {name: known[name] for name in names}
    return {name: hash_start(experts[name]) for name in names}


@contextmanager
def _timed(folder: AdaptFolder) -> Iterator[list[float]]:
    """Add the time of this session to that of earlier ones; yields a list that then has the sum."""
    before = (folder.find_record(SECONDS) or {"seconds": 0.0, "is_finished": False}).copy()
    begun, total = time.monotonic(), [float(before["seconds"])]
    is_finished = False
    try:
        yield total
        is_finished = True
    finally:
        # Reading a finished run takes no time that belongs to it.
        if not before["is_finished"]:
            total[0] += time.monotonic() - begun
            folder.keep_record(SECONDS, {"seconds": total[0], "is_finished": is_finished})


def _retrieve_all(
    context: Context,
    folder: AdaptFolder,
    candidates: list[str],
    examples: Mapping[str, TrainingExamples],
    own_examples: Mapping[str, TrainingExamples],
) -> dict[str, NewTask]:
    """Choose the experts for each task; what was retrieved before is read from the folder."""
    config, method = context.config, METHODS[context.config.method]
    is_retrieved = method.uses_experts and (config.retrieve is not None or method.needs_scores)
    record = folder.find_record(RETRIEVED) or {}
    for place, (name, found) in enumerate(examples.items()):
        if name in record:
            continue
        scores: list[tuple[str, float | None]] = [(own, None) for own in candidates]
        num_tokens = 0
        if is_retrieved:
            context.on_progress(
                AdaptEvent(stage="retrieving experts", num_done=place, num_steps=len(examples))
            )
            retrieved = retrieve(
                RetrievalContext(
                    base=context.base,
                    experts=context.experts,
                    task=name,
                    examples=found,
                    own_examples=own_examples,
                    router_options=context.router_options,
                    trust_base=context.trust_base,
                ),
                candidates,
                config.retrieve,
                config.by,
                config.train.seed,
            )
            scores, num_tokens = list(retrieved.scores), retrieved.num_tokens
        record[name] = {"scores": [list(pair) for pair in scores], "num_tokens": num_tokens}
        folder.keep_record(RETRIEVED, record)
    return {
        name: NewTask(
            name=name,
            examples=replace(found, spent_tokens=record[name]["num_tokens"]),
            chosen=dict(record[name]["scores"]),
            budget=plan_tokens(name, found, context.train),
        )
        for name, found in examples.items()
    }


def _finish(context: Context, task: NewTask, found: Trained, num_tokens: int) -> AdaptedTask:
    """Write the card of a new expert."""
    num_read = task.examples.spent_tokens + num_tokens
    parents = _list_parents(found.weights)
    config = context.config
    own = {name: getattr(config, name) for name in METHODS[config.method].settings}
    origin = {
        "task": task.name,
        "method": config.method,
        **own,
        "seed": config.train.seed,
        "scores": {name: score for name, score in task.chosen.items() if score is not None},
        "weights": dict(found.weights),
        "tokens_read": num_read,
        "relative_error": found.error,
    }
    loss = found.progress.best_loss
    card = replace(
        found.expert.card,
        tasks=task.examples.tasks or (task.name,),
        parents=parents,
        role=EXPERT,
        scores={} if loss is None else {"validation_loss": loss},
        provenance={**_describe_training(context, task, found), ORIGIN: origin},
    )
    expert = replace(found.expert, name=task.name, card=card)
    return AdaptedTask(
        expert=expert,
        progress=found.progress,
        scores=task.chosen,
        weights=found.weights,
        num_read=num_read,
        error=found.error,
    )


def _describe_training(context: Context, task: NewTask, found: Trained) -> dict[str, Any]:
    """Return what cards of trained experts have; sums of experts have no such card yet."""
    return {
        "training": asdict(context.train),
        "data": {"digest": task.examples.digest, "num_train": len(task.examples.train)},
        "steps": found.progress.step,
        "best_step": found.progress.best_step,
        "tokens": found.progress.tokens,
        **found.expert.card.provenance,
    }


def _list_parents(weights: Weights) -> tuple[str, ...]:
    """List the experts with a weight other than 0, in any group of layers."""
    names: dict[str, None] = {}
    for key, value in weights.items():
        if isinstance(value, Mapping):
            names.update(dict.fromkeys(name for name, weight in value.items() if weight))
        elif value:
            names[key] = None
    return tuple(names)
