"""Change an expert's tags, notes and role.

Its weights and artifacts stay unchanged. If no experts are named, only those with
the role expert are used.
"""

from jsonargparse import ArgumentParser, Namespace

import lorary
from lorary.cli.console import print_next
from lorary.cli.printing import print_line
from lorary.cli.role_options import ROLES
from lorary.errors import UnknownExpert
from lorary.files import quote

EXAMPLE = "lorary library tag ./my-loras poetry --add art english"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the expert, and the changes."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("name", help="Name of the expert")
    parser.add_argument("--add", nargs="+", default=[], metavar="TAG", help="Tags to add")
    parser.add_argument("--remove", nargs="+", default=[], metavar="TAG", help="Tags to remove")
    parser.add_argument("--notes", type=str | None, help="The description; '' removes it")
    parser.add_argument(
        "--role",
        choices=["expert", *ROLES],
        help="New role; a general expert that others build on keeps its role",
    )


def run(options: Namespace) -> int:
    """Change the card, and print its new content."""
    library = lorary.Library.open(options.library)
    entries = {entry.name: entry for entry in library.entries()}
    if options.name not in entries:
        raise UnknownExpert(options.name, entries, f"library {quote(options.library)}")
    card = entries[options.name].card
    absent = [tag for tag in options.remove if tag not in card.tags]
    if absent:
        raise ValueError(
            f"expert {quote(options.name)} has no tag {', '.join(map(quote, absent))}: its tags are "
            f"{', '.join(card.tags) or 'none'}"
        )
    if not (options.add or options.remove or options.role) and options.notes is None:
        raise ValueError("there is nothing to change: add --add, --remove, --notes or --role")
    tags = [tag for tag in dict.fromkeys([*card.tags, *options.add]) if tag not in options.remove]
    library.annotate(options.name, tags=tags, description=options.notes, role=options.role)
    role = options.role or card.role
    told = [f"the role {role}", f"the tags {', '.join(tags)}" if tags else "no tags"]
    if options.notes is not None:
        told.append("new notes" if options.notes else "no notes")
    print_line(f"expert {quote(options.name)} has {', '.join(told[:-1])} and {told[-1]}")
    print_next("lorary", "library", "show", options.library, options.name)
    return 0
