"""List the experts of a library.

Reads only the experts' small files, not their weights, so thousands of experts take about a second.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

import lorary
from lorary.cli.console import print_next, print_table
from lorary.cli.general_names import name_generals
from lorary.cli.printing import format_count, print_json, print_line
from lorary.cli.role_options import ROLES
from lorary.files import quote, say_count

if TYPE_CHECKING:
    from lorary.library.entry import Entry

EXAMPLE = "lorary library ls ./my-loras --task poetry"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library and the filters."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("--task", type=str | None, help="Only experts trained on this task")
    parser.add_argument("--base", type=str | None, help="Only experts for this base model")
    parser.add_argument("--tag", type=str | None, help="Only experts with this tag")
    roles = f"expert, {', '.join(ROLES)}"
    parser.add_argument("--role", type=str | None, help=f"Only experts with this role: {roles}")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table")


def run(options: Namespace) -> int:
    """Print a line for each expert that matches."""
    library = lorary.Library.open(options.library)
    entries = library.entries(task=options.task, base=options.base, tag=options.tag, role=options.role)
    if options.json:
        print_json([asdict(entry) for entry in entries])
    elif entries:
        has_kinds = any(entry.kinds for entry in entries)
        generals = name_generals(library, entries)
        rows = [
            (
                *_describe(entry),
                *([generals.get(entry.card.on_top_of, "")] if generals else []),
                *([", ".join(entry.kinds or ())] if has_kinds else []),
            )
            for entry in entries
        ]
        columns = (*COLUMNS, *(["on top of"] if generals else []), *(["kinds"] if has_kinds else []))
        print_table(columns, rows, numeric=("rank", "parameters"))
        print_next("lorary", "library", "show", options.library, entries[0].name)
    elif len(library):
        print_line(
            f"no expert matches the filters: library {quote(options.library)} has "
            f"{say_count(len(library), 'expert')}"
        )
        print_next("lorary", "library", "ls", options.library)
    else:
        print_line(f"library {quote(options.library)} is empty")
        print_next("lorary", "library", "add", options.library, "FOLDER")
    return 0


COLUMNS = ("expert", "role", "base model", "rank", "parameters", "tasks", "tags")


def _describe(entry: "Entry") -> tuple[str, ...]:
    return (
        entry.name,
        entry.card.role,
        entry.base_model,
        format_count(entry.max_rank),
        format_count(entry.num_parameters),
        ", ".join(entry.card.tasks),
        ", ".join(entry.card.tags),
    )
