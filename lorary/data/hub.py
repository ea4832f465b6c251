"""Hugging Face data sets by id, ``hf:owner/name[:config][#split]``, through the ``datasets`` library."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from lorary.data.source import Record, Source
from lorary.data.task import SPLIT_NAMES
from lorary.errors import DataError
from lorary.files import escape, quote

if TYPE_CHECKING:
    from datasets import DatasetDict

PREFIX = "hf:"


class HubId(NamedTuple):
    """The parts of a data set's id."""

    path: str
    """``owner/name``, or a local folder."""
    config: str | None
    """The data set's configuration; ``None`` for the only or default one."""
    split: str | None
    """The split; ``None`` for all."""


def is_hub_id(place: str) -> bool:
    """Return whether ``place`` names a data set rather than a file."""
    return place.startswith(PREFIX)


def parse_hub_id(text: str) -> HubId:
    """Parse ``hf:owner/name[:config][#split]``.

    Raises:
        ValueError: if a part is empty.
    """
    rest, hash_mark, split = text.removeprefix(PREFIX).partition("#")
    path, colon, config = rest.partition(":")
    if not path or (colon and not config) or (hash_mark and not split):
        raise ValueError(f"a data set's id must be hf:owner/name[:config][#split], found {quote(text)}")
    return HubId(path, config or None, split or None)


def name_hub_task(text: str) -> str:
    """Name a task after its data set: the name without its owner, and the configuration if one is given."""
    found = parse_hub_id(text)
    name = found.path.rstrip("/").rpartition("/")[2]
    return f"{name}-{found.config}" if found.config else name


def list_hub_splits(text: str) -> dict[str, str]:
    """Return the id of each of the splits train, validation and test that the data set has.

    An id that names a split gives that split only, as ``train``.

    Raises:
        DataError: if the data set cannot be loaded or has none of them.
    """
    if parse_hub_id(text).split is not None:
        return {"train": text}
    dataset = _load_splits(text)
    found = {name: f"{text}#{name}" for name in SPLIT_NAMES if name in dataset}
    if not found:
        example = quote(f"{text}#{next(iter(dataset), 'name')}")
        raise DataError(
            f"{quote(text)} must have a split among {SPLIT_NAMES}, found {_list_some(dataset)}: map its "
            f"splits, as in {{'train': {example}}}"
        )
    return found


def open_hub_split(text: str) -> Source:
    """Open one split of a data set.

    Raises:
        ValueError: if the id names no split and the data set has several.
        DataError: if the data set cannot be loaded or has no such split.
    """
    dataset, split = _load_splits(text), parse_hub_id(text).split
    if split is None and len(dataset) > 1:
        example = quote(f"{text}#train")
        raise ValueError(f"{quote(text)} must name one split, as {example}; it has {_list_some(dataset)}")
    name = split or next(iter(dataset))
    if name not in dataset:
        raise DataError(f"{quote(text)} has no split {quote(name)}, only {_list_some(dataset)}")
    return Source(name=text, records=_number_rows(text, dataset[name]))


def _list_some(names: Iterable[str]) -> str:
    return escape(", ".join(names), keep="", longest=200)


def _number_rows(name: str, rows: Any) -> Iterator[Record]:
    numbered = iter(enumerate(rows, start=1))
    while True:
        with _explain(name):
            number, row = next(numbered, (0, None))
        if not number:
            return
        yield Record(f"row {number}", row)


def _load_splits(text: str) -> "DatasetDict":
    # Imported here, because datasets takes seconds to import and files do not need it.
    import datasets

    found = parse_hub_id(text)
    with _explain(text):
        # Without trust_remote_code, datasets runs no code of a data set, also not from a local folder.
        return datasets.load_dataset(found.path, found.config)


@contextmanager
def _explain(text: str) -> Iterator[None]:
    """Turn any error of ``datasets`` or its back ends into a ``DataError`` that names the data set."""
    try:
        yield
    except Exception as error:
        reason = f"{escape(str(error), keep='', longest=400)} ({type(error).__name__})"
        raise DataError(
            f"data set {quote(text)} cannot be loaded: {reason}: check its id and the network connection"
        ) from error
