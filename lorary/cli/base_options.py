"""The options that say which base model a command loads, and where it runs."""

from jsonargparse import ArgumentParser

DEFAULT_BASE = "smollm2-135m"


def add_base_options(parser: ArgumentParser, default: str | None = None) -> None:
    """Add the base model, its revision and its device.

    Args:
        parser: the command's.
        default: the base model if none is named; None means the one that the library's experts are for.
    """
    what = "" if default else "; the one the library's experts were trained on if not given"
    parser.add_argument(
        "--base",
        type=str | None,
        default=default,
        help=f"Base model: hub id, folder, or {DEFAULT_BASE} (embedded){what}",
    )
    parser.add_argument("--revision", type=str | None, help="Commit, branch or tag of a hub model")
    parser.add_argument(
        "--device", type=str | None, help="Where to run, such as cuda:1; a GPU if there is one"
    )
