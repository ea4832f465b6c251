"""The values that a command passes to the tokenizer's chat template."""

import json
from collections.abc import Mapping
from typing import Any

from jsonargparse import ArgumentParser

from lorary.cli.keep_places import KeepPlaces
from lorary.files import quote


def add_template_args(parser: ArgumentParser) -> None:
    """Add the arguments of the chat template."""
    parser.add_argument(
        "--template-args",
        action=KeepPlaces,
        nargs="+",
        metavar="NAME=VALUE",
        help="Values that the base model's chat template reads, such as enable_thinking=false",
    )


def read_template_args(value: object) -> dict[str, Any]:
    """Read arguments of a template: words such as ``enable_thinking=false``, or a mapping of YAML.

    Returns:
        Name -> value: parsed as JSON if possible, otherwise text.

    Raises:
        ValueError: if it is something else.
    """
    if value is None or isinstance(value, Mapping):
        return dict(value or {})
    words = [value] if isinstance(value, str) else value
    parts = [str(word).partition("=") for word in words] if isinstance(words, list) else []
    found = {name: _read_value(text) for name, equals, text in parts if name and equals}
    if not isinstance(words, list) or len(found) < len(words):
        raise ValueError(
            f"template arguments must give each name once, as in enable_thinking=false, found {quote(value)}"
        )
    return found


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
