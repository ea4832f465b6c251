"""Compute the Arrow prototypes that a library lacks, and show how strong its experts are.

Prototypes are kept in the library under the hash of the weights they belong to, so nothing is computed twice;
the commands that route compute missing ones themselves.
"""

from jsonargparse import ArgumentParser

EXAMPLE = "lorary prototypes ./my-loras"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library and the base model."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("--base", type=str | None, help="Only experts for this base model")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table")
