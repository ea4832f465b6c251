"""Rename an expert.

Its artifacts, such as prototypes, stay valid.
"""

from jsonargparse import ArgumentParser, Namespace

import lorary
from lorary.cli.console import print_next
from lorary.cli.printing import print_line
from lorary.files import quote

EXAMPLE = "lorary library rename ./my-loras poetry poems"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library and the two names."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("old", help="Name of the expert")
    parser.add_argument("new", help="New name")


def run(options: Namespace) -> int:
    """Rename the expert."""
    lorary.Library.open(options.library).rename(options.old, options.new)
    print_line(
        f"renamed expert {quote(options.old)} to {quote(options.new)} in library {quote(options.library)}"
    )
    print_next("lorary", "library", "show", options.library, options.new)
    return 0
