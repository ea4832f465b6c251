"""Take what one expert knows away from all others, and keep them as a new library.

For a library whose experts all know the same general things, before it is routed among: train an expert of
the general, or merge all experts into one, and take it away. Exact: ranks add up, and nothing is cut.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

EXAMPLE = "lorary subtract ./my-loras general --out ./without-general"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, what to take away, and where the others go."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("general", help="Name of the expert that is taken away from all others")
    parser.add_argument("--out", type=Path, required=True, help="Folder to write; it must not exist yet")
    parser.add_argument("--scale", type=float, default=1.0, help="What it is multiplied with")
    parser.add_argument("--base", type=str | None, help="Only experts for this base model")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")
