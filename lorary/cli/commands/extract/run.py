"""Extract an expert from a fine-tuned model, store it, and print its approximation error."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from statistics import fmean

from jsonargparse import Namespace

from lorary.cli.bars import show_count
from lorary.cli.console import print_next
from lorary.cli.filled_library import open_writable_library
from lorary.cli.grids import print_grid
from lorary.cli.printing import print_json, print_line
from lorary.errors import LibraryError
from lorary.experts import check_name
from lorary.files import escape, quote, say_count
from lorary.library import Library
from lorary.models.extraction import Extraction, LayerChange, extract_expert
from lorary.reports.tables import Cell, Grid, Row

COLUMNS = ("layers", "rank", "change", "lost", "worst")
NOTE = (
    "change: norm of the change, relative to that of the weight. lost: norm of the error, relative to that "
    "of the change; worst: of a single layer."
)


def run(options: Namespace) -> int:
    """Check the options, extract, store the expert, and print a table."""
    name = check_name(options.name or options.tuned.rstrip("/").rpartition("/")[2])
    library = open_writable_library(options.out)
    if library is not None and name in library:
        raise LibraryError(
            f"library {quote(options.out)} already has an expert {quote(name)}: choose another --name"
        )
    with show_count(f"extracting {name}") as show:
        found = extract_expert(
            options.base,
            options.tuned,
            options.rank,
            name=name,
            keep_rest=options.keep_rest,
            revision=options.revision,
            tuned_revision=options.tuned_revision,
            on_progress=show,
        )
    (library or Library.open(options.out, create=True)).add(found.expert)
    if options.json:
        print_json(describe_extraction(found, options.out))
        return 0
    print_extraction(found, options.per_layer)
    print_line(f"expert {escape(name)} is in library {options.out}")
    print_next("lorary", "generate", options.out, "PROMPT", "--expert", name)
    return 0


def describe_extraction(found: Extraction, place: str) -> dict[str, object]:
    """Describe an extraction in JSON values."""
    lost = {name: None if value == float("inf") else value for name, value in found.lost.items()}
    return {
        "library": place,
        "expert": found.expert.name,
        "error": found.error,
        "layers": {path: asdict(change) for path, change in found.layers.items()},
        "kept": dict(found.kept),
        "lost": lost,
        "streamed": found.is_streamed,
    }


def print_extraction(found: Extraction, per_layer: bool) -> None:
    """Print a table of layers, and other changes."""
    if found.layers:
        groups = (
            group_layers(found.layers)
            if not per_layer
            else {path: {path: c} for path, c in found.layers.items()}
        )
        rows = tuple(Row(label=label, cells=_fill(changes)) for label, changes in groups.items())
        footer = Row(label="all", cells=_fill(found.layers, found.error))
        print_grid(
            Grid(title="Changes of linear layers", columns=COLUMNS, rows=rows, footer=footer, note=NOTE)
        )
    for line in _tell_rest(found):
        print_line(line)


def group_layers(layers: Mapping[str, LayerChange]) -> dict[str, dict[str, LayerChange]]:
    """Group layers by the last part of their paths."""
    groups: dict[str, dict[str, LayerChange]] = {}
    for path, change in layers.items():
        groups.setdefault(path.rpartition(".")[2], {})[path] = change
    return groups


def _fill(changes: Mapping[str, LayerChange], error: float | None = None) -> tuple[Cell, ...]:
    values = list(changes.values())
    ranks = sorted({change.rank for change in values})
    texts = (
        str(len(values)),
        str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}",
        f"{fmean(change.change for change in values):.2g}",
        f"{fmean(change.error for change in values) if error is None else error:.2g}",
        f"{max(change.error for change in values):.2g}",
    )
    return tuple(Cell(text=text) for text in texts)


def _tell_rest(found: Extraction) -> Iterator[str]:
    if found.kept:
        yield f"kept as a whole: {_name_some(found.kept)}"
    if found.lost:
        advice = "" if found.kept else "; --keep-rest stores weights and biases of the same shape"
        yield f"lost: {_name_some(found.lost)}{advice}"
    if not found.is_streamed:
        yield "the models were loaded completely, since transformers converts the names in their files"


def _name_some(changes: Mapping[str, float]) -> str:
    def say(value: float) -> str:
        return "another shape" if value == float("inf") else f"{value:.2g}"

    shown = [f"{escape(name, longest=60)} ({say(value)})" for name, value in list(changes.items())[:3]]
    more = len(changes) - len(shown)
    listed = ", ".join(shown) + (f" and {more} more" if more else "")
    return f"{say_count(len(changes), 'other parameter')}, with the change relative to its norm: {listed}"
