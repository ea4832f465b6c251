"""The options for a command's base model and its device."""

from jsonargparse import ArgumentParser

DEFAULT_BASE = "smollm2-135m"


def add_base_options(parser: ArgumentParser, default: str | None = None) -> None:
    """Add the base model, its revision and its device.

    Args:
        parser: the command's parser.
        default: the default base model; None means the one that the library's experts were trained on.
    """
    what = "" if default else "; if not given: the one that the library's experts were trained on"
    parser.add_argument(
        "--base",
        type=str | None,
        default=default,
        help=f"Base model: hub id, folder, or {DEFAULT_BASE} (embedded){what}",
    )
    parser.add_argument("--revision", type=str | None, help="Commit, branch or tag of a hub model")
    if default is None:
        add_trust_option(parser)
    parser.add_argument(
        "--device", type=str | None, help="Device, such as cpu or cuda:1; if not given: a GPU if there is one"
    )


def add_trust_option(parser: ArgumentParser) -> None:
    """Add the option of commands that refuse experts for another base model."""
    parser.add_argument(
        "--trust-base",
        action="store_true",
        help="Take experts that name another base model, by name, revision or fingerprint, with a warning; "
        "shapes of layers are checked",
    )
