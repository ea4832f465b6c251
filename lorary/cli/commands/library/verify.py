"""Check that the experts and artifacts of a library are complete and unchanged.

Reads every byte. Exits with code 2 if there is a problem.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from jsonargparse import ArgumentParser, Namespace

import lorary
from lorary.cli.bars import show_count
from lorary.cli.console import print_next
from lorary.cli.errors import USER_ERROR
from lorary.cli.printing import print_json, print_line
from lorary.files import quote, say_count

EXAMPLE = "lorary library verify ./my-loras"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library and the experts."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("names", nargs="*", default=[], help="Names of the experts; if not given: all")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")


def run(options: Namespace) -> int:
    """Print a line for each problem."""
    library = lorary.Library.open(options.library)
    names = options.names or list(library)
    with show_count("verifying", is_transient=True) as show:
        problems = library.verify(_count(names, show), rest=not options.names)
    if options.json:
        print_json([asdict(problem) for problem in problems])
    elif problems:
        for problem in problems:
            print_line(str(problem))
        print_line(f"{say_count(len(problems), 'problem')} in {say_count(len(names), 'expert')}")
    else:
        print_line(f"no problem in {say_count(len(names), 'expert')} of library {quote(options.library)}")
        print_next("lorary", "library", "ls", options.library)
    return USER_ERROR if problems else 0


def _count(names: Sequence[str], show: Callable[[int, int], None]) -> Iterator[str]:
    """Yield names, and show the number of names so far."""
    for number, name in enumerate(names):
        show(number, len(names))
        yield name
