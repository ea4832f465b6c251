"""Take what one expert knows away from all others, and keep them as a new library.

For a library whose experts all know the same general things, before it is routed among: train an expert of
the general, or merge all experts into one, and take it away. Exact: ranks add up, and nothing is cut.
"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from lorary.cli.bars import show_count
from lorary.cli.commands.prototypes import group_by_base
from lorary.cli.model_options import open_filled_library
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_json, print_line, print_next, say_count

EXAMPLE = "lorary subtract ./my-loras general --out ./without-general"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, what to take away, and where the others go."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("general", help="Name of the expert that is taken away from all others")
    parser.add_argument("--out", type=Path, required=True, help="Folder to write; it must not exist yet")
    parser.add_argument("--scale", type=float, default=1.0, help="What it is multiplied with")
    parser.add_argument("--base", type=str | None, help="Only experts for this base model")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")


def run(options: Namespace) -> int:
    """Check everything, subtract, write the folder, and say where it is."""
    from lorary.library import Library
    from lorary.models.new_folder import new_folder
    from lorary.transforms import subtract_general

    check_out(options.out, options.library)
    library = open_filled_library(options.library)
    names = [name for group in group_by_base(library, options.base).values() for name in group]
    others = [name for name in names if name != options.general]
    rest = subtract_general(library, options.general, names=others, scale=options.scale)
    with new_folder(options.out) as scratch, show_count(f"taking {options.general} away") as show:
        made, rank = Library.open(str(scratch), create=True), 0
        for number, expert in enumerate(rest, 1):
            made.add(expert)
            rank = max(rank, expert.max_rank)
            show(number, len(others))
    if options.json:
        print_json({"out": str(options.out), "experts": others, "general": options.general, "rank": rank})
        return 0
    print_line(
        f"{say_count(len(others), 'expert')} without {options.general}, rank up to {rank}: {options.out}"
    )
    print_next("lorary", "generate", str(options.out), "PROMPT", "--router", "arrow")
    return 0
