"""Hugging Face data sets by id, ``hf:owner/name[:config][#split]``, through the ``datasets`` library."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from lorary.data.source import Record, Source
from lorary.data.task import SPLIT_NAMES
from lorary.errors import DataError
from lorary.files import escape, quote, shorten

if TYPE_CHECKING:
    from datasets import DatasetDict

PREFIX = "hf:"


class HubId(NamedTuple):
    """A data set's id, taken apart."""

    path: str
    """``owner/name``, or a local folder."""
    config: str | None
    """Which of the data set's configurations; ``None`` for the only or default one."""
    split: str | None
    """Which split; ``None`` for all."""


def is_hub_id(place: str) -> bool:
    """Return whether ``place`` names a data set rather than a file."""
    return place.startswith(PREFIX)


def parse_hub_id(text: str) -> HubId:
    """Take ``hf:owner/name[:config][#split]`` apart.

    Raises:
        ValueError: if a part is empty.
    """
    rest, hash_mark, split = text.removeprefix(PREFIX).partition("#")
    path, colon, config = rest.partition(":")
    if not path or (colon and not config) or (hash_mark and not split):
        raise ValueError(f"a data set's id must read hf:owner/name[:config][#split], not {quote(text)}")
    return HubId(path, config or None, split or None)


def name_hub_task(text: str) -> str:
    """Name a task after its data set: the name without its owner, and the configuration if one is given."""
    found = parse_hub_id(text)
    name = found.path.rstrip("/").rpartition("/")[2]
    return f"{name}-{found.config}" if found.config else name


def list_hub_splits(text: str) -> dict[str, str]:
    """Return, for each of train, validation and test that the data set has, the id of that split.

    An id that names its split stands for that split alone.

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
            f"{quote(text)} must have a split among {SPLIT_NAMES}, it has {_list_some(dataset)}: say which "
            f"is which, as {{'train': {example}}}"
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
    return shorten(escape(", ".join(names), keep=""))


def _number_rows(name: str, rows: Any) -> Iterator[Record]:
    numbered = iter(enumerate(rows, start=1))
    while True:
        with _explain(name):
            number, row = next(numbered, (0, None))
        if not number:
            return
        yield Record(f"row {number}", row)


def _load_splits(text: str) -> "DatasetDict":
    # Here, not above: datasets takes seconds to import, and files do not need it.
    import datasets

    found = parse_hub_id(text)
    with _explain(text):
        # Never with trust_remote_code: datasets then loads nothing but data, also from a local folder.
        return datasets.load_dataset(found.path, found.config)


@contextmanager
def _explain(text: str) -> Iterator[None]:
    """Say which data set it was; what datasets and what it reads with raise is of too many kinds to list."""
    try:
        yield
    except Exception as error:
        reason = f"{shorten(escape(str(error), keep=''), 400)} ({type(error).__name__})"
        raise DataError(
            f"data set {quote(text)} cannot be loaded: {reason}: check its id, and the network"
        ) from error
