"""Write a lock file: the hashes of a library's files, its base model, router, recipes, and versions.

A built model is accepted too; its router is locked. `lorary sync` rebuilds the same library from the lock
file.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.router_options import add_router_options, describe_routers

EXAMPLE = "lorary lock ./my-loras --router arrow --arrow.top_k 2"
COMMON = ("--out", "--router", "--json")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the file and the router."""
    parser.add_argument("library", help="Folder or URL of the library, or folder of a built model")
    parser.add_argument("--out", type=Path, default=Path("lorary.lock"), help="File to write")
    parser.add_argument(
        "--router",
        type=str | None,
        help=f"Router: none, {describe_routers(with_tasks=False)}; if not given: the default router, or a "
        "built model's own",
    )
    add_router_options(parser)
    parser.add_argument("--json", action="store_true", help="Print the lock file instead of lines")
