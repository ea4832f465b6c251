"""Checks of an adaptation's arguments, before any work."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from lorary.adaptation.chosen import whole_library
from lorary.adaptation.config import AdaptConfig
from lorary.adaptation.methods.table import METHODS, Method
from lorary.adaptation.skill_sets import load_trained_skills
from lorary.errors import DataError, UnknownExpert, suggest
from lorary.experts import Expert, check_name
from lorary.experts.parts import require_low_rank
from lorary.experts.routed import list_routed
from lorary.files import quote, say_count
from lorary.library.general import take_general
from lorary.models import BaseModel, find_layers
from lorary.models.check_base import check_base
from lorary.models.check_expert import check_expert
from lorary.models.fit_paths import fit_paths
from lorary.models.parts.changed import find_kinds_on, keep_low_rank_on
from lorary.training import TrainingExamples
from lorary.training.example_checks import check_training_examples
from lorary.training.rank_check import check_rank
from lorary.training.starts import refuse_untrained

ACTION = "adaptation"
"""The action that needs low-rank factors, for messages."""
ORIGIN = "adaptation"
"""The key of a card's provenance that describes the adaptation of a library to a task."""


def list_candidates(
    base: BaseModel, experts: Mapping[str, Expert], config: AdaptConfig, tasks: Mapping[str, object]
) -> list[str]:
    """List the experts that a method may use.

    These are the experts that are used by default (``Library.routed``), without those made by an
    adaptation to these tasks, so that results stored in the library do not change the next run. Experts that
    change the base model by more than low-rank factors are left out, with one warning. With ``skills``, they
    are the skills of that set.

    Raises:
        LibraryError: if there is no such set of skills, or its table is missing.
        IncompatibleExpert: if all experts have more than low-rank factors.
    """
    method = METHODS[config.method]
    if config.skills is not None and "skills" in method.settings:
        return [skill.name for skill in load_trained_skills(experts, config.skills).skills]
    if not method.uses_experts:
        return []
    found = _find_routed(experts, tasks)
    return keep_low_rank_on(base.model, found, list(found), ACTION)


def find_general_of(
    experts: Mapping[str, Expert], candidates: Sequence[str], config: AdaptConfig
) -> Expert | None:
    """Find the general expert on top of which new experts are trained: the one that used experts build on.

    A control without experts, ``fresh``, is trained on top of the one that all experts of the library build
    on. The expert of all tasks is fine-tuned without it.

    Args:
        experts: the library or mapping, with all of its experts.
        candidates: the experts that the method may use.
        config: the complete configuration.

    Raises:
        IncompatibleExpert: if used experts build on different ones, or it is missing.
    """
    method = METHODS[config.method]
    if "multi_task" in method.settings and config.multi_task is not None:
        return take_general(experts, [config.multi_task])
    if candidates:
        return take_general(experts, candidates)
    if method.kind == "training":
        return None
    routed = list_routed(experts)
    hashes = {experts[name].card.on_top_of for name in routed}
    return take_general(experts, routed) if len(hashes) == 1 else None


def list_ranks(
    base: BaseModel,
    experts: Mapping[str, Expert],
    candidates: Sequence[str],
    tasks: Mapping[str, object],
) -> list[int]:
    """List the ranks that determine the rank of new experts; controls have the rank of other methods.

    Args:
        base: the base model.
        experts: a library or any other mapping, as for ``list_candidates``.
        candidates: the experts that the method may use; of a control none.
        tasks: the new tasks.
    """
    if candidates:
        whole = whole_library(experts)
        return [whole[name].max_rank for name in candidates]
    found = _find_routed(experts, tasks)
    kinds = find_kinds_on(base.model, found, list(found))
    return [expert.max_rank for name, expert in found.items() if not kinds[name]]


def _find_routed(experts: Mapping[str, Expert], tasks: Mapping[str, object]) -> dict[str, Expert]:
    found = {name: experts[name] for name in list_routed(experts)}
    return {name: expert for name, expert in found.items() if _find_origin(expert) not in tasks}


def _find_origin(expert: Expert) -> object:
    origin = expert.card.provenance.get(ORIGIN)
    task = origin.get("task") if isinstance(origin, Mapping) else None
    return task if isinstance(task, str) else None


def check_choice(
    base: BaseModel,
    experts: Mapping[str, Expert],
    candidates: list[str],
    examples: Mapping[str, TrainingExamples],
    config: AdaptConfig,
) -> None:
    """Check that a method has the experts and examples that it needs, and layers of the new rank.

    Raises:
        ValueError, DataError: with all faults.
        IncompatibleExpert: if an expert from which the training starts changes layers that are not trained.
    """
    method = METHODS[config.method]
    faults = [*_find_example_faults(examples), *_find_expert_faults(experts, candidates, config, method)]
    layers = find_layers(base.model, config.train.target_modules)
    if config.rank is not None:
        try:
            check_rank(layers, config.rank)
        except ValueError as error:
            faults.append((False, str(error)))
    if faults:
        kind = DataError if all(is_data for is_data, _ in faults) else ValueError
        raise kind("adaptation: " + "; ".join(fault for _, fault in faults))
    # Methods with retrieval, or that sort the experts, choose some of them later.
    if method.kind == "start" and config.retrieve is None and not method.needs_scores:
        whole = {name: experts[name] for name in candidates}
        for name, expert in fit_paths(base.model, whole).items():
            refuse_untrained(expert.rename(name), layers)


def check_arguments(
    base: BaseModel,
    experts: Mapping[str, Expert],
    candidates: list[str],
    examples: Mapping[str, TrainingExamples],
    config: AdaptConfig,
    trust_base: bool,
) -> None:
    """Check all arguments of an adaptation.

    Raises:
        ValueError, DataError, UnknownExpert: with all faults of the arguments.
        IncompatibleExpert: if experts are for another base model.
    """
    method = METHODS[config.method]
    check_choice(base, experts, candidates, examples, config)
    for task, found in examples.items():
        check_training_examples(check_name(task), found, base.model)
    if config.multi_task is not None and config.multi_task not in experts:
        raise UnknownExpert(config.multi_task, experts, "the library")
    used = [*candidates, *([config.multi_task] if "multi_task" in method.settings else [])]
    chosen = {name: experts[name] for name in dict.fromkeys(used) if name is not None}
    require_low_rank(chosen.values(), f"method {config.method!r}")
    check_base(base, *chosen.values(), trust=trust_base)
    for expert in fit_paths(base.model, chosen).values():
        check_expert(base.model, expert)


def _find_example_faults(examples: Mapping[str, TrainingExamples]) -> Iterator[tuple[bool, str]]:
    if not examples:
        yield True, "there must be at least one task, found none"
    for task, found in examples.items():
        if not isinstance(found, TrainingExamples):
            yield False, f"task {quote(task, 60)} must have TrainingExamples, found {quote(found, 60)}"
        elif not found.train:
            yield True, f"task {quote(task, 60)} must have at least one training example, found none"


def _find_expert_faults(
    experts: Mapping[str, Expert], candidates: list[str], config: AdaptConfig, method: Method
) -> Iterator[tuple[bool, str]]:
    if method.uses_experts and not candidates:
        yield (
            False,
            f"method {config.method!r} needs a library with at least one expert, found none: add experts, or "
            "use method 'fresh'",
        )
    elif method.uses_experts:
        for fault in find_retrieve_faults(config.retrieve, len(candidates)):
            yield False, fault
    if config.train_general and "train_general" in method.settings:
        alone = [name for name in candidates if experts[name].card.on_top_of is None]
        if alone:
            yield (
                False,
                f"train_general needs experts that build on a general one, and {quote(alone[0], 140)} "
                "builds on none: leave it out, or train experts on top of one (lorary train --general)",
            )
    if config.skills is not None and "skills" in method.settings:
        yield from _find_skill_faults(experts, config.skills, config)
    if "multi_task" in method.settings:
        if config.multi_task is None:
            yield (
                False,
                f"method {config.method!r} needs the name of the expert that was trained on all tasks: set "
                "multi_task (--multi-task NAME)",
            )
        else:
            for fault in find_multi_task_faults(config.multi_task, experts):
                yield False, fault


def find_retrieve_faults(retrieve: int | None, count: int) -> Iterator[str]:
    """Yield what is wrong with the number of experts to retrieve.

    Args:
        retrieve: the number; None for all.
        count: number of experts that may be retrieved.
    """
    if retrieve is not None and retrieve > count:
        yield (f"retrieve must be at most {say_count(count, 'expert')}, all that there are, found {retrieve}")


def find_multi_task_faults(name: str | None, experts: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with the name of the expert of all tasks, if one is given."""
    if name is not None and name not in experts:
        yield (
            f"multi_task must be an expert of the library, found {quote(name, 140)}: "
            f"{suggest(str(name)[:200], experts)}"
        )


def _find_skill_faults(
    experts: Mapping[str, Expert], skills: str, config: AdaptConfig
) -> Iterator[tuple[bool, str]]:
    if config.retrieve is not None:
        yield False, "retrieve cannot be combined with skills, because a table belongs to all skills of a set"
    num_splits = load_trained_skills(experts, skills).table.num_splits
    family, is_poly = config.method.partition("-")[0], num_splits == 1
    if (family == "poly") != is_poly:
        wanted = "1 split" if family == "poly" else "several splits"
        yield (
            False,
            f"method {config.method!r} needs skills with {wanted}, those of {skills!r} have {num_splits}: "
            f"use a method {'poly' if is_poly else 'mhr'}",
        )
