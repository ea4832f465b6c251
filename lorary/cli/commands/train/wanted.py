"""The work of training into a library: names, starts, and experts that the library already has."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from lorary.errors import LibraryError
from lorary.experts import Expert, ExpertCard, check_name, hash_weights
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.models import BaseModel, find_layers
from lorary.training import TrainConfig, TrainingExamples
from lorary.training.same_training import find_training_fault
from lorary.training.starts import Starts
from lorary.training.train import check_standing

MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The experts of a command, by the names under which they are stored."""

    examples: Mapping[str, TrainingExamples]
    """Name -> examples, of all experts of the command."""
    starts: Mapping[str, Expert] | None
    """Name -> the expert from which its training starts; None without ``--continue``."""
    start_digests: Mapping[str, str]
    """Name -> hash of the initial weights."""
    known: tuple[str, ...]
    """Those that are already in the library, from the same training."""
    on_top_of: Expert | None = None
    """The general expert on top of which they are trained."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Those that must be trained."""
        return tuple(name for name in self.examples if name not in self.known)


def find_wanted(
    library: Library,
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
    starts: Mapping[str, Expert],
    *,
    replace: bool,
    fresh: bool,
    on_top_of: Expert | None = None,
) -> Wanted:
    """Find the names under which a command's experts are stored, and those that need no training.

    An expert is recognised by its content: base model, data, settings, and initial weights. An
    expert that continues another gets the first free name of ``x``, ``x-2``, ``x-3`` and so on, unless it
    replaces an expert of its name.

    Args:
        library: the library to fill.
        base: the base model.
        examples: name -> examples.
        config: the configuration.
        starts: name -> the expert from which its training starts; the others start fresh.
        replace: whether experts of other trainings are replaced.
        fresh: whether known experts are trained again.
        on_top_of: the general expert on top of which they are trained; None for none.

    Raises:
        LibraryError: if names are taken by experts of other trainings, and ``replace`` is false.
        IncompatibleExpert: if a start is for another base model, changes layers that are not trained, or
            builds on another general expert.
    """
    layers = find_layers(base.model, config.target_modules)
    digests = Starts(base, layers, examples, starts).digests
    check_standing(starts, on_top_of)
    weights = None if on_top_of is None else hash_weights(on_top_of)
    cards = {entry.name: entry.card for entry in library.entries()}
    names: dict[str, str] = {}
    known, faults = [], {}
    for own, found in examples.items():
        used = {*names.values(), *examples} - {own}
        for name in _list_names(own, used, goes_on=own in starts and not replace):
            fault = _find_fault(cards.get(name), found, base, config, digests.get(own), weights)
            if fault is not None and replace and own in starts:
                record = cards[name].provenance.get("start")
                if starts[own].name == name and isinstance(record, Mapping) and record.get("expert") == name:
                    # Perhaps the result of this command, which replaced the expert that it began with.
                    fault = _find_fault(cards[name], found, base, config, record.get("weights"), weights)
            if fault is None:
                break
        names[own] = name
        if name in cards and fault is None:
            known.append(name)
        elif name in cards and not replace:
            assert fault is not None
            faults[name] = fault
    if faults:
        raise LibraryError(_explain_taken(library, faults))
    return Wanted(
        examples={names[own]: found for own, found in examples.items()},
        starts={names[own]: start for own, start in starts.items()} if starts else None,
        start_digests={names[own]: digest for own, digest in digests.items()},
        known=() if fresh else tuple(known),
        on_top_of=on_top_of,
    )


def find_fault(
    card: ExpertCard | None, name: str, wanted: Wanted, base: BaseModel, config: TrainConfig
) -> str | None:
    """Describe why an expert in the library is not the one that is wanted under a name; None if it is.

    Args:
        card: its card; None if there is no expert, which is not a fault.
        name: the name.
        wanted: the experts of the command.
        base: the base model.
        config: the configuration.
    """
    weights = None if wanted.on_top_of is None else hash_weights(wanted.on_top_of)
    return _find_fault(card, wanted.examples[name], base, config, wanted.start_digests.get(name), weights)


def _list_names(own: str, used: Collection[str], goes_on: bool) -> Iterator[str]:
    yield own
    if goes_on:
        yield from (name for number in count(2) if (name := check_name(f"{own}-{number}")) not in used)


def _find_fault(
    card: ExpertCard | None,
    found: TrainingExamples,
    base: BaseModel,
    config: TrainConfig,
    start_digest: str | None,
    on_top_of: str | None,
) -> str | None:
    if card is None:
        return None
    return find_training_fault(
        card,
        base_fingerprint=base.fingerprint,
        data_digest=found.digest,
        config=config,
        start_digest=start_digest,
        on_top_of=on_top_of,
    )


def _explain_taken(library: Library, faults: Mapping[str, str]) -> str:
    shown = [f"{name!r} ({fault})" for name, fault in list(faults.items())[:MOST_NAMED]]
    more = f" and {say_count(len(faults) - MOST_NAMED, 'other')}" if len(faults) > MOST_NAMED else ""
    one, it = next(iter(faults)), "it" if len(faults) == 1 else "them"
    return (
        f"library {quote(library.url)} already has {', '.join(shown)}{more}: add --replace to replace {it}, "
        f"--continue {one} to continue from it, leave out its task, or train into another library"
    )
