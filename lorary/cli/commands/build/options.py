"""Build a routed model: one folder with router, experts and versions, to be loaded with one line.

The folder holds the experts of a library as PEFT adapters, the router with its options and everything it is
built from. The base model is named in it; --with-base puts its weights there too.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.base_options import add_base_options
from lorary.cli.router_options import add_router_options, list_ready_routers
from lorary.routing import DEFAULT_ROUTER

EXAMPLE = "lorary build ./my-loras --router arrow --out my-model"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the router, and where the model goes."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("--out", type=Path, required=True, help="Folder of the model; it must not exist yet")
    parser.add_argument("--router", type=str, default=DEFAULT_ROUTER, help=", ".join(list_ready_routers()))
    parser.add_argument(
        "--with-base", action="store_true", help="Put the base model's weights into the folder too"
    )
    add_base_options(parser)
    add_router_options(parser)
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")
