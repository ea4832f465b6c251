"""Give an expert another name.

What was computed from its weights, such as prototypes, stays valid.
"""

from jsonargparse import ArgumentParser, Namespace

from lorary.cli.printing import print_next

EXAMPLE = "lorary library rename ./my-loras poetry poems"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library and the two names."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("old", help="The expert's name")
    parser.add_argument("new", help="Its new name")


def run(options: Namespace) -> int:
    """Rename the expert."""
    from lorary.library import Library

    Library.open(options.library).rename(options.old, options.new)
    print(f"renamed expert {options.old!r} to {options.new!r} in library {options.library!r}")
    print_next("lorary", "library", "show", options.library, options.new)
    return 0
