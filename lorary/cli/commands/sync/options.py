"""Rebuild the library of a lock file, bit for bit, or print what differs.

Experts are copied from the sources if their files have the locked hashes, and a router's tuned options are
stored. Prints a table and exits with 1 if an expert, tuned options or the base model differ, are missing, or
are not in the lock file.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

EXAMPLE = "lorary sync lorary.lock --sources ./my-loras --out ./same-loras"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the lock file, the sources and the library."""
    parser.add_argument("lock", type=Path, help="File that `lorary lock` wrote")
    parser.add_argument("--out", required=True, help="Library to create, complete or compare")
    parser.add_argument(
        "--sources",
        type=str,
        nargs="+",
        default=[],
        metavar="URL",
        help="Folders or URLs of libraries to copy experts from",
    )
    parser.add_argument(
        "--replace", action="store_true", help="Replace experts and tuned options that differ"
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines and a table")
