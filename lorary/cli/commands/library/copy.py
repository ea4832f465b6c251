"""Copy an expert under another name within a library."""

from jsonargparse import ArgumentParser, Namespace

import lorary
from lorary.cli.console import print_next
from lorary.cli.printing import print_line
from lorary.files import quote

EXAMPLE = "lorary library copy ./my-loras poetry poetry-backup"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library and the two names."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("old", help="Name of the expert")
    parser.add_argument("new", help="Name of the copy")


def run(options: Namespace) -> int:
    """Copy the expert."""
    lorary.Library.open(options.library).copy(options.old, options.new)
    print_line(
        f"copied expert {quote(options.old)} to {quote(options.new)} in library {quote(options.library)}"
    )
    print_next("lorary", "library", "show", options.library, options.new)
    return 0
