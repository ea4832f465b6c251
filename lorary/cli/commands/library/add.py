"""Add a PEFT adapter to a library; a missing library is created.

The adapter is copied. Its own folder is not changed.
"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

import lorary
from lorary.cli.console import print_next
from lorary.cli.printing import print_line
from lorary.errors import FormatError
from lorary.files import quote, say_count

CONFIG = "adapter_config.json"
# Adapters inside a folder: subfolders such as a run's checkpoints, or snapshots in the hub's cache.
BENEATH = (f"*/{CONFIG}", f"snapshots/*/{CONFIG}")
NUM_SHOWN = 4
EXAMPLE = "lorary library add ./my-loras downloads/poetry-lora --name poetry"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the adapter's folder, the expert's name and its base model."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("folder", help="Folder or URL of the PEFT adapter")
    parser.add_argument("--name", type=str | None, help="Name of the expert; if not given: the folder's name")
    parser.add_argument(
        "--base", type=str | None, help="Base model of the expert; if not given: that of the adapter"
    )


def run(options: Namespace) -> int:
    """Read the adapter, then store it under a free name."""
    refuse_parent(options.folder)
    # Read first, so that a bad adapter leaves no new library behind.
    expert = lorary.read_peft(options.folder, options.name, base_model=options.base)
    library = lorary.Library.open(options.library, create=True)
    library.add(expert)
    print_line(
        f"added expert {quote(expert.name)} to library {quote(options.library)}, which now has "
        f"{say_count(len(library), 'expert')}"
    )
    if expert.card.on_top_of is not None and library.find_general(expert.card.on_top_of) is None:
        print_line("it builds on a general expert that the library lacks: add that one too")
    print_next("lorary", "library", "show", options.library, expert.name)
    return 0


def refuse_parent(folder: str) -> None:
    """Refuse a local folder that is not an adapter but contains adapters.

    Raises:
        FormatError: with the first of them.
    """
    parent = Path(folder)
    if not parent.is_dir() or (parent / CONFIG).exists():
        return
    found = sorted(str(path.parent) for pattern in BENEATH for path in parent.glob(pattern))
    if found:
        shown = ", ".join(quote(place) for place in found[:NUM_SHOWN]) + (
            ", …" if len(found) > NUM_SHOWN else ""
        )
        raise FormatError(
            f"{quote(folder)} is not an adapter but contains {say_count(len(found), 'adapter')}: add each by "
            f"its own folder, {shown}"
        )
