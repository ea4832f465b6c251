"""Compute the missing Arrow prototypes of a library, and show the gains of its experts.

A prototype is the unit input that an expert amplifies most in a layer; its gain is the factor. Prototypes are
stored in the library under the hash of the expert's weights, so they are computed once. Commands that need
prototypes compute missing ones themselves.
"""

from jsonargparse import ArgumentParser

from lorary.cli.role_options import add_role_option

EXAMPLE = "lorary prototypes ./my-loras"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library and the base model."""
    parser.add_argument("library", help="Folder or URL of the library")
    add_role_option(parser)
    parser.add_argument("--base", type=str | None, help="Only experts for this base model")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table")
