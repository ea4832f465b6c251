"""Subtract one expert from all others, and save the results as a new library.

Use this before routing if all experts share the same general knowledge: train one expert on general data, or
merge all experts, and subtract the result. The difference is exact, so the ranks of both experts add up.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.base_options import add_trust_option
from lorary.cli.role_options import add_role_option

EXAMPLE = "lorary subtract ./my-loras general --out ./without-general"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the expert to subtract, and the folder."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("general", help="Name of the expert that is subtracted from all others")
    parser.add_argument("--out", type=Path, required=True, help="Folder to write; it must not exist yet")
    parser.add_argument("--scale", type=float, default=1.0, help="Factor of the subtracted expert")
    add_role_option(parser)
    parser.add_argument("--base", type=str | None, help="Only experts for this base model")
    add_trust_option(parser)
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")
