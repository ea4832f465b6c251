"""Remove artifacts, such as prototypes, of experts that are no longer in a library.

The artifacts of present experts are kept. Removed ones can be computed again.
"""

from jsonargparse import ArgumentParser, Namespace

import lorary
from lorary.cli.console import print_next
from lorary.cli.printing import print_json, print_line
from lorary.files import quote, say_count

EXAMPLE = "lorary library prune ./my-loras"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a line")


def run(options: Namespace) -> int:
    """Remove the artifacts, and print their number and size."""
    pruned = lorary.Library.open(options.library).prune()
    if options.json:
        print_json(pruned._asdict())
        return 0
    print_line(
        f"removed {say_count(pruned.num_removed, 'artifact')} of absent experts "
        f"({pruned.num_bytes / 1e6:.1f} MB) from library {quote(options.library)}, kept {pruned.num_kept:,}"
    )
    print_next("lorary", "library", "ls", options.library)
    return 0
