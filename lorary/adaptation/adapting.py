"""Adapting a library of experts to new tasks."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorary.adaptation.cards import describe_result
from lorary.adaptation.checks import check_arguments, find_general_of, list_candidates, list_ranks
from lorary.adaptation.chosen import hash_experts, whole_library
from lorary.adaptation.completing import complete_config
from lorary.adaptation.config import AdaptConfig, describe_config, fit_train
from lorary.adaptation.event import AdaptEvent
from lorary.adaptation.fine_tuning import fine_tune
from lorary.adaptation.folder import LOSSES, SECONDS, AdaptFolder
from lorary.adaptation.measuring import measure_losses
from lorary.adaptation.methods.contract import Context
from lorary.adaptation.methods.table import METHODS
from lorary.adaptation.result import Adapted, AdaptedTask
from lorary.adaptation.retrieving import retrieve_all
from lorary.data import TokenizedExample
from lorary.experts import Expert, hash_weights
from lorary.models import BaseModel
from lorary.training import TrainingExamples
from lorary.training.folder.lock import hold_run_folder


def adapt(
    base: BaseModel,
    experts: Mapping[str, Expert],
    examples: Mapping[str, TrainingExamples],
    config: AdaptConfig,
    run_folder: str | Path,
    *,
    own_examples: Mapping[str, TrainingExamples] | None = None,
    measured: Mapping[str, Sequence[TokenizedExample]] | None = None,
    router_options: Mapping[str, Any] | None = None,
    trust_base: bool = False,
    fresh: bool = False,
    on_progress: Callable[[AdaptEvent], None] | None = None,
) -> Adapted:
    """Make an expert for each new task, from a library of experts and a few examples.

    Every method has the same budget of tokens for a task: those of the plan of a new expert's training, which
    follow from ``config.train``. Tokens that are read before training, by retrieval and by the choice of
    a start, count too and shorten the training. Validation is the same for all methods and does not count.

    Args:
        base: the base model, used on its current device. It must have no experts, and has none afterwards.
        experts: a library, of which the experts that are used by default are taken; or a choice
            of them (``library.routed(…)``) or any other mapping, which is used completely. A library stores
            facts about its experts. Experts made by an earlier adaptation to these tasks are left out.
        examples: new task -> its few examples, see ``prepare_few``. New experts have the names of their
            tasks.
        config: the configuration; the seed is that of ``config.train``.
        run_folder: folder of the resumable state. A finished run is read from it.
        own_examples: expert -> examples of its own task, for retrieval by embedding.
        measured: task -> examples whose losses are measured at the end, such as test examples; they have no
            influence on the experts.
        router_options: options of the calibrated router, if it is used.
        trust_base: whether to use experts that name another base model, with a warning.
        fresh: start over instead of resuming.
        on_progress: called with the progress of the run.

    Returns:
        The expert of each task, with a record of how it was made.

    Raises:
        ValueError: with all faults, if the configuration does not suit the experts or a task.
        DataError: if a task has no examples.
        IncompatibleExpert: if an expert is for another base model, or the base model has experts already.
        TrainingError: if the folder has another run, is damaged or in use, or a loss is not finite.
    """
    tell = on_progress or (lambda event: None)
    config = complete_config(base, config, router_options)
    candidates = list_candidates(base, experts, config, examples)
    train = fit_train(config, list_ranks(base, experts, candidates, examples))
    # Experts named by the user need not be among the candidates.
    experts = whole_library(experts)
    check_arguments(base, experts, candidates, examples, config, trust_base)
    method = METHODS[config.method]
    general = find_general_of(experts, candidates, config)
    with hold_run_folder(run_folder):
        identity = {
            "configuration": describe_config(config),
            "rank": train.rank,
            "base model": base.fingerprint,
            "experts": hash_experts(experts, [*candidates, *_list_named(config)]),
            "examples": [[task, found.digest] for task, found in examples.items()],
            **({} if general is None else {"general expert": hash_weights(general)}),
            **_identify_help(own_examples, router_options),
        }
        folder = AdaptFolder(run_folder, identity, fresh=fresh)
        context = Context(
            base=base,
            experts=experts,
            config=config,
            train=train,
            folder=folder.training,
            general=general,
            router_options=router_options or {},
            trust_base=trust_base,
            on_progress=tell,
        )
        with _timed(folder) as seconds:
            tasks = retrieve_all(context, folder, candidates, examples, own_examples or {})
            is_training = method.kind == "training"
            trained = method.train(context, tasks) if is_training else fine_tune(context, folder, tasks)
            found = {name: describe_result(context, tasks[name], own) for name, own in trained.items()}
        losses = _measure(context, folder, found, measured or {})
        return Adapted(
            tasks={name: replace(found[name], losses=losses.get(name, ())) for name in examples},
            seconds=seconds[0],
        )


def _identify_help(
    own_examples: Mapping[str, TrainingExamples] | None, router_options: Mapping[str, Any] | None
) -> dict[str, object]:
    """Return the other inputs of retrieval, as far as they are given."""
    found: dict[str, object] = {}
    if own_examples:
        found["examples of experts' tasks"] = {name: own.digest for name, own in own_examples.items()}
    if router_options:
        found["router options"] = {name: repr(value) for name, value in router_options.items()}
    return found


def _list_named(config: AdaptConfig) -> list[str]:
    return [config.multi_task] if config.multi_task is not None else []


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
        # The time to read a finished run is not part of its time.
        if not before["is_finished"]:
            total[0] += time.monotonic() - begun
            folder.keep_record(SECONDS, {"seconds": total[0], "is_finished": is_finished})


def _measure(
    context: Context,
    folder: AdaptFolder,
    found: Mapping[str, AdaptedTask],
    measured: Mapping[str, Sequence[TokenizedExample]],
) -> dict[str, tuple[float, ...]]:
    """Measure the losses of the given examples; those already measured are read from the folder."""
    given = {name: own for name, own in measured.items() if name in found and own}
    if not given:
        return {}
    digest = {name: TrainingExamples(train=tuple(own)).digest for name, own in given.items()}
    record = folder.find_record(LOSSES)
    if record is None or record["examples"] != digest:
        experts = {name: found[name].expert for name in given}
        losses = measure_losses(context.base, experts, given, context.train, context.on_top_of)
        record = {"examples": digest, "losses": losses}
        folder.keep_record(LOSSES, record)
    return {name: tuple(own) for name, own in record["losses"].items()}
