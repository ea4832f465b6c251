"""Show the card of one expert.

Reads only the expert's small files, not its weights.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

import lorary
from lorary.cli.console import print_next, print_table
from lorary.cli.general_names import name_generals
from lorary.cli.printing import format_count, print_json
from lorary.errors import UnknownExpert
from lorary.files import quote

if TYPE_CHECKING:
    from lorary.library.entry import Entry

EXAMPLE = "lorary library show ./my-loras poetry"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library and the expert."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("name", help="Name of the expert")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table")


def run(options: Namespace) -> int:
    """Print one expert's card, a line per field."""
    library = lorary.Library.open(options.library)
    entries = {entry.name: entry for entry in library.entries()}
    if options.name not in entries:
        raise UnknownExpert(options.name, entries, f"library {quote(options.library)}")
    entry = entries[options.name]
    if options.json:
        print_json(asdict(entry))
        return 0
    standing = [other.name for other in entries.values() if other.card.on_top_of == entry.weights_sha256]
    general = name_generals(library, [entry]).get(entry.card.on_top_of, "")
    lines = [*_describe(entry, general), ("built on it", ", ".join(standing if entry.weights_sha256 else []))]
    print_table(("expert", entry.name), [line for line in lines if line[1]])
    print_next("lorary", "library", "verify", options.library, entry.name)
    return 0


def _describe(entry: "Entry", general: str) -> Iterator[tuple[str, str]]:
    card = entry.card
    yield "role", card.role
    yield "on top of", general
    yield "base model", entry.base_model
    yield "base revision", card.base_revision or ""
    yield "base fingerprint", card.base_fingerprint or ""
    yield "description", card.description
    yield "tasks", ", ".join(card.tasks)
    yield "tags", ", ".join(card.tags)
    yield "parents", ", ".join(card.parents)
    yield "kinds", ", ".join(entry.kinds or ())
    yield "highest rank", format_count(entry.max_rank) if entry.max_rank != 0 else ""
    yield "modules", format_count(entry.num_modules)
    yield "parameters", format_count(entry.num_parameters)
    yield "dtype", entry.dtype or ""
    yield "weights sha256", entry.weights_sha256 or ""
    for measure, score in card.scores.items():
        yield f"score {measure}", f"{score:.4g}"
    for key, value in card.provenance.items():
        yield key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
