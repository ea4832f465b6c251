"""The general expert on top of which experts are trained: from the library, or trained first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from jsonargparse import Namespace

from lorary.cli.commands.train.general_options import GeneralConfig
from lorary.data import Task, mix_tasks
from lorary.errors import LibraryError, UnknownExpert, suggest
from lorary.experts import Expert
from lorary.experts.on_top import agree_on_general, check_general, say_general_missing
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.training import TrainConfig


@dataclass(frozen=True, kw_only=True)
class GeneralPlan:
    """A general expert that is to be trained."""

    name: str
    """Its name."""
    task: Task
    """All of its tasks as one."""
    members: tuple[str, ...]
    """Their names."""
    config: TrainConfig
    """Its training."""


def read_general(options: Namespace) -> GeneralConfig | None:
    """Read the settings of ``--general``; None if none is trained.

    Raises:
        ValueError: if there are settings without ``--general``, or ``--on-top-of`` too.
    """
    given = dict(vars(options.general))
    config = GeneralConfig(**given)
    if not config.train:
        if config != GeneralConfig():
            raise ValueError(
                "--general.… settings have no effect without --general: add it, or leave them out"
            )
        return None
    if options.on_top_of is not None:
        raise ValueError(
            "--general trains a general expert and --on-top-of names one in the library: use only one of them"
        )
    return config


def plan_general(
    options: Namespace,
    tasks: Mapping[str, Task],
    experts: Mapping[str, Sequence[str]],
    training: TrainConfig,
) -> GeneralPlan | None:
    """Choose the tasks and settings of the general expert; None without ``--general``.

    Args:
        options: the command's options.
        tasks: all tasks.
        experts: the experts to train on top of it -> their tasks.
        training: their training.

    Raises:
        ValueError: if a task to leave out is unknown, none is left, an expert of its name is trained too, or
            options exclude each other.
    """
    config = read_general(options)
    if config is None:
        return None
    if config.name in experts:
        raise ValueError(
            f"the general expert must have its own name, but {quote(config.name)} is "
            "trained on top of it: choose another one with --general.name"
        )
    unknown = [name for name in config.leave_out if name not in tasks]
    if unknown:
        raise ValueError(
            f"--general.leave_out names the task {quote(unknown[0])}, which is not in --tasks: "
            f"{suggest(unknown[0], list(tasks))}"
        )
    members = {name: task for name, task in tasks.items() if name not in config.leave_out}
    if not members:
        raise ValueError(
            "--general.leave_out must leave at least one task for the general expert, found none"
        )
    own = training if config.rank is None else replace(training, rank=config.rank)
    if config.max_tokens is not None:
        own = replace(own, max_tokens=config.max_tokens, max_steps=None, epochs=None)
    return GeneralPlan(
        name=config.name,
        task=mix_tasks(members, config.name, is_balanced=True),
        members=tuple(members),
        config=own,
    )


def find_known_general(options: Namespace, library: Library, starts: Mapping[str, Expert]) -> Expert | None:
    """Return the expert of ``--on-top-of``, or the one that the experts of ``--continue`` build on.

    Raises:
        UnknownExpert: if the library has no expert of that name.
        IncompatibleExpert: if no expert can build on it.
        LibraryError: if the experts of ``--continue`` build on an expert that the library lacks.
    """
    name = options.on_top_of
    if name is None and starts:
        weights = agree_on_general({start.name: start for start in starts.values()})
        if weights is None:
            return None
        name = library.find_general(weights)
        if name is None:
            first = next(iter(starts.values()))
            raise LibraryError(say_general_missing(first, [first.name], "the library"))
    if name is None:
        return None
    if name not in library:
        raise UnknownExpert(name, library, f"library {quote(library.url)}")
    expert = library[name]
    check_general(expert)
    return expert


def list_standing(library: Library, name: str) -> list[str]:
    """List the experts of a library that build on one of its experts."""
    entries = {entry.name: entry for entry in library.entries()}
    weights = entries[name].weights_sha256 if name in entries else None
    return (
        []
        if weights is None
        else [other for other, entry in entries.items() if entry.card.on_top_of == weights]
    )


def refuse_taken(library: Library, names: Iterable[str]) -> None:
    """Refuse, before the general expert is trained, names of experts that cannot build on it.

    Raises:
        LibraryError: naming the first of these.
    """
    taken = [name for name in names if name in library]
    if taken:
        more = f" and {say_count(len(taken) - 1, 'other')}" if len(taken) > 1 else ""
        raise LibraryError(
            f"library {quote(library.url)} already has {quote(taken[0])}{more}, which cannot build "
            "on a general expert that is not trained yet: add --replace, or train into another library"
        )


def refuse_replacing(library: Library, name: str, standing: Sequence[str]) -> None:
    """Refuse, before it is trained, a general expert that would replace one that others build on.

    Raises:
        LibraryError: naming the first of these.
    """
    if standing:
        raise LibraryError(
            f"expert {quote(name)} cannot be replaced, because {say_count(len(standing), 'expert')} of "
            f"library {quote(library.url)} ({quote(standing[0])} first) build on it: choose another name "
            "with --general.name, or remove these first"
        )
