"""Finish an interrupted change of a library that another user or another machine began.

Use this when another command asks for it, for instance for a library that was copied during a change.
Make sure that no other process is writing to the library. Files outside the library are not changed.
"""

from jsonargparse import ArgumentParser, Namespace

import lorary
from lorary.cli.console import print_next
from lorary.cli.printing import print_json, print_line
from lorary.files import quote

EXAMPLE = "lorary library settle ./my-loras"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")


def run(options: Namespace) -> int:
    """Finish the change, and print what was moved."""
    moves = lorary.Library.settle(options.library)
    if options.json:
        print_json(moves)
        return 0
    for source, target in moves:
        print_line(f"{source} -> {target}")
    done = "finished the change" if moves else "there was no change to finish"
    print_line(f"{done} in library {quote(options.library)}")
    print_next("lorary", "library", "verify", options.library)
    return 0
