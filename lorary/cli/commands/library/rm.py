"""Remove experts and their weights from a library.

If a name is unknown, or other experts build on one of them, no expert is removed. Artifacts, such as
prototypes, are kept in case an expert is added again; `lorary library prune` removes them.
"""

from jsonargparse import ArgumentParser, Namespace

import lorary
from lorary.cli.console import print_next
from lorary.cli.printing import print_line
from lorary.errors import UnknownExpert
from lorary.files import quote

EXAMPLE = "lorary library rm ./my-loras poetry"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library and the experts."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("names", nargs="+", help="Names of the experts")


def run(options: Namespace) -> int:
    """Check that all experts exist, then remove them together."""
    library = lorary.Library.open(options.library)
    names = dict.fromkeys(options.names)
    for name in names:
        if name not in library:
            raise UnknownExpert(name, library, f"library {quote(options.library)}")
    library.remove_all(names)
    for name in names:
        print_line(f"removed expert {quote(name)} from library {quote(options.library)}")
    print_next("lorary", "library", "ls", options.library)
    return 0
