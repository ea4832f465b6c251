"""Finish the change that another machine, another user or a copy's original left half done in a library.

Only needed where a command says so. Nobody may be writing to the library; nothing outside it is touched.
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
    """Settle it, and say what was moved."""
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
