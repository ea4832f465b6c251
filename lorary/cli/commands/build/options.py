"""Build a routed model: one folder with experts and router, loaded with one line of Python.

The folder contains the experts as PEFT adapters, the router's options, and the facts that the router
needs. It names the base model and its revision; --with-base adds the base model's weights. The tasks of the
library's skills are used by name; a library of skills alone is built without a router.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.base_options import add_base_options
from lorary.cli.role_options import add_role_option
from lorary.cli.router_options import add_router_options, describe_routers
from lorary.routing import DEFAULT_ROUTER, ENCODER_ROUTER

EXAMPLE = "lorary build ./my-loras --out my-model"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the router and the folder."""
    parser.add_argument("library", help="Folder or URL of the library")
    parser.add_argument("--out", type=Path, required=True, help="Folder of the model; it must not exist yet")
    parser.add_argument(
        "--router",
        type=str | None,
        help=f"Router: {describe_routers(with_tasks=False)}; if not given: {DEFAULT_ROUTER}, or "
        f"{ENCODER_ROUTER} if the base model has an encoder",
    )
    parser.add_argument(
        "--with-base", action="store_true", help="Save the base model's weights in the folder too"
    )
    parser.add_argument(
        "--skills",
        type=str | None,
        help="Any skill of the set whose tasks the model serves, if the library has several sets",
    )
    add_role_option(parser)
    add_base_options(parser)
    add_router_options(parser)
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")


COMMON = ("--out", "--router", "--with-base", "--include", "--base", "--device")
