"""Which new experts are stored, under which names, and storing them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jsonargparse import Namespace

from lorary.adaptation import AdaptConfig, Adapted
from lorary.adaptation.cards import plan_origin
from lorary.adaptation.checks import ORIGIN
from lorary.cli.commands.adapt.configs import ALL, BEST, NONE
from lorary.errors import LibraryError, suggest
from lorary.evaluation.run_header import describe_run
from lorary.experts import Expert, check_name
from lorary.files import quote
from lorary.library import Library
from lorary.training import TrainingExamples


@dataclass(frozen=True, kw_only=True)
class Run:
    """A method with one seed, and its result."""

    method: str
    """The method."""
    seed: int
    """The seed."""
    adapted: Adapted
    """Experts, and losses of the validation examples, followed by those of the test."""
    num_validation: Mapping[str, int]
    """Task -> number of its validation examples."""

    def losses(self, task: str, split: str) -> tuple[float, ...]:
        """Return the losses of a task's examples of a split, ``"validation"`` or ``"test"``."""
        losses, count = self.adapted.tasks[task].losses, self.num_validation[task]
        return losses[:count] if split == "validation" else losses[count:]

    def mean_loss(self, task: str, split: str) -> float | None:
        """Return the mean of these losses; None if there are none."""
        losses = self.losses(task, split)
        return sum(losses) / len(losses) if losses else None


def choose_store(options: Namespace, methods: Sequence[str]) -> str:
    """Return what is stored: a method, ``best``, ``all`` or ``none``.

    Raises:
        ValueError: if it is none of these.
    """
    if options.store is None:
        return methods[0] if len(methods) == 1 else NONE
    known = [*methods, BEST, ALL, NONE]
    if options.store not in known:
        raise ValueError(
            f"--store must be one of the methods of this run, {BEST}, {ALL} or {NONE}, found "
            f"{quote(options.store, 60)}: {suggest(str(options.store)[:200], known)}"
        )
    return str(options.store)


def name_experts(
    options: Namespace, store: str, methods: Sequence[str], tasks: Sequence[str]
) -> dict[tuple[str, str], str]:
    """Return the names under which experts may be stored: (task, method) -> name.

    Raises:
        ValueError: if ``--name`` is given for several experts, or is not a valid name.
    """
    if store == NONE:
        chosen: Sequence[str] = ()
    else:
        chosen = methods if store in (ALL, BEST) else [store]
    several = store == ALL and len(methods) > 1
    if options.name is not None and (len(tasks) > 1 or several):
        raise ValueError(
            "--name names one expert, but several would be stored: leave it out, name tasks by NAME=PLACE, "
            "or store one method"
        )
    return {
        (task, method): check_name(
            (task if options.name is None else options.name) + (f"-{method}" if several else "")
        )
        for task in tasks
        for method in chosen
    }


def require_free_names(library: Library, names: Mapping[tuple[str, str], str], options: Namespace) -> None:
    """Refuse names of experts that were not made by an adaptation to the same task.

    Raises:
        LibraryError: with the first three.
    """
    if options.replace:
        return
    taken = [
        name for (task, _), name in names.items() if name in library and _find_task(library[name]) != task
    ]
    if taken:
        shown = ", ".join(map(repr, list(dict.fromkeys(taken))[:3]))
        raise LibraryError(
            f"library {quote(library.url)} already has {shown}: add --replace to replace them, or choose "
            "another name with --name, or as --tasks NAME=PLACE"
        )


def require_same_adaptation(
    library: Library,
    names: Mapping[tuple[str, str], str],
    plans: Mapping[str, Sequence[AdaptConfig]],
    examples: Mapping[str, TrainingExamples],
) -> None:
    """Refuse names of experts that another adaptation to the same task has made, before any work.

    Args:
        library: the library to store in.
        names: task and method -> name.
        plans: method -> its complete configurations, one for each seed.
        examples: task -> its examples.

    Raises:
        LibraryError: with the first such name.
    """
    planned: dict[str, list[tuple[dict[str, Any], str]]] = {}
    for (task, method), name in names.items():
        origins = [plan_origin(task, config) for config in plans[method]]
        planned.setdefault(name, []).extend((origin, examples[task].digest) for origin in origins)
    for name, own in planned.items():
        if name in library and not any(_is_made_by(library[name], *plan) for plan in own):
            raise LibraryError(_refuse_taken(library, name))


def _is_made_by(expert: Expert, planned: Mapping[str, Any], digest: str) -> bool:
    known, data = expert.card.provenance.get(ORIGIN), expert.card.provenance.get("data")
    # As in the card's JSON.
    wanted = json.loads(json.dumps(planned))
    return (
        isinstance(known, Mapping)
        # Cards of earlier versions lack later settings, whose defaults are those of that time.
        and all(known.get(key, getattr(AdaptConfig, key, None)) == value for key, value in wanted.items())
        and isinstance(data, Mapping)
        and digest in _list_digests(data)
    )


def _list_digests(data: Mapping[str, Any]) -> list[object]:
    """List the digests of examples in a card: one, or one for each task if skills were trained."""
    several = data.get("digests")
    return [data.get("digest"), *(several.values() if isinstance(several, Mapping) else ())]


def _refuse_taken(library: Library, name: str) -> str:
    return (
        f"library {quote(library.url)} already has {name!r} from another adaptation: add --replace to "
        "replace it, or choose another name with --name, or as --tasks NAME=PLACE"
    )


def store_experts(
    library: Library,
    runs: Sequence[Run],
    names: Mapping[tuple[str, str], str],
    store: str,
    prompts: Mapping[str, Any],
    *,
    replaces: bool,
) -> dict[str, tuple[str, str, int]]:
    """Store the chosen experts: of several seeds, and for ``best`` of all methods, the one of lowest loss.

    Returns:
        Name -> task, method and seed.

    Raises:
        LibraryError: if an expert of a name came from another adaptation, or the library cannot be written.
    """
    stored = {}
    for name, candidates in _group(runs, names, store).items():
        task, run = min(candidates, key=lambda pair: _find_loss(pair[1], pair[0]))
        expert = run.adapted.experts[task]
        _store(library, expert.rename(name), prompts, replaces=replaces)
        stored[name] = task, run.method, run.seed
    return stored


def _group(
    runs: Sequence[Run], names: Mapping[tuple[str, str], str], store: str
) -> dict[str, list[tuple[str, Run]]]:
    groups: dict[str, list[tuple[str, Run]]] = {}
    for run in runs:
        for task in run.adapted.tasks:
            if (task, run.method) in names:
                groups.setdefault(names[task, run.method], []).append((task, run))
    return groups


def _find_loss(run: Run, task: str) -> float:
    loss = run.mean_loss(task, "validation")
    return math.inf if loss is None else loss


def _find_task(expert: Expert) -> object:
    origin = expert.card.provenance.get(ORIGIN)
    return origin.get("task") if isinstance(origin, Mapping) else None


def _store(library: Library, expert: Expert, prompts: Mapping[str, Any], *, replaces: bool) -> None:
    origin = expert.card.provenance[ORIGIN]
    if expert.name in library:
        if library[expert.name].card.provenance.get(ORIGIN) == origin and not replaces:
            return
        if not replaces:
            raise LibraryError(f"{_refuse_taken(library, expert.name)}; nothing has to be computed again")
    run = describe_run(seeds={}, settings={})
    provenance = {
        **expert.card.provenance,
        "prompts": dict(prompts),
        "versions": run["versions"],
        "date": run["date"],
    }
    library[expert.name] = replace(expert, card=replace(expert.card, provenance=provenance))
