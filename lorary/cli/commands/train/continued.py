"""``--continue``: experts whose training continues with the examples of this command."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from lorary.errors import LibraryError
from lorary.experts import Expert
from lorary.experts.parts import require_low_rank
from lorary.files import quote
from lorary.library import Library
from lorary.training import TrainConfig


def read_continued(given: Any, names: Collection[str]) -> dict[str, str]:
    """Read from which expert each training starts.

    Args:
        given: the words of ``--continue``, ``EXPERT`` or ``NAME=EXPERT``; a mapping from YAML; or None.
        names: names of the experts to train.

    Returns:
        Name of an expert to train -> name of the expert in the library from which it starts.

    Raises:
        ValueError: if a name is not one of the experts to train, or is given twice.
    """
    if isinstance(given, Mapping):
        pairs = [(str(name), str(start)) for name, start in given.items()]
    else:
        words = [given] if isinstance(given, str) else given or []
        pairs = [_read_pair(part.strip(), names) for word in words for part in str(word).split(",")]
    for name, start in pairs:
        if name not in names:
            raise ValueError(
                f"--continue: {quote(name)} is not trained by this command, which trains "
                f"{', '.join(map(quote, list(names)[:8]))}: write NAME={start} with one of these"
            )
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("--continue: every expert to train starts from one expert, found one of them twice")
    return dict(pairs)


def _read_pair(word: str, names: Collection[str]) -> tuple[str, str]:
    name, equals, start = word.rpartition("=")
    if equals:
        return name.strip(), start.strip()
    # A task of the expert's own name, or the only one that is trained.
    return next(iter(names)) if len(names) == 1 and start not in names else start, start


def describe_other_prompts(
    starts: Mapping[str, Expert], prompts: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    """Describe the experts that were trained with another template, as pairs of label and text.

    Args:
        starts: name -> the expert from which its training starts.
        prompts: how examples become prompts in this training.
    """
    for start in {start.name: start for start in starts.values()}.values():
        known = start.card.provenance.get("prompts")
        if isinstance(known, Mapping) and known.get("template") not in (None, prompts["template"]):
            yield (
                "note",
                f"{start.name} was trained with --template {quote(known['template'], 40)}, this training "
                f"uses {prompts['template']}",
            )


def load_starts(library: Library, continued: Mapping[str, str], config: TrainConfig) -> dict[str, Expert]:
    """Load the experts from which trainings start.

    Args:
        library: has the experts.
        continued: name of an expert to train -> name of the expert from which it starts.
        config: the configuration of the training.

    Raises:
        UnknownExpert: if there is no expert of a name.
        IncompatibleExpert: if an expert has more than low-rank factors.
        LibraryError: if the training has a lower rank than an expert, which would lose part of that expert.
    """
    starts = {name: library[start] for name, start in continued.items()}
    require_low_rank(starts.values(), "--continue")
    wide = [expert for expert in starts.values() if expert.max_rank > config.rank]
    if wide:
        raise LibraryError(
            f"--continue: the trained rank must be at least that of expert {wide[0].name!r}, "
            f"{wide[0].max_rank}, found {config.rank}: add --training.rank "
            f"{max(expert.max_rank for expert in wide)}"
        )
    return starts
