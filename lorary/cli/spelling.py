"""Refuse unknown options, all of them at once, each with the nearest known ones."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser

from lorary.errors import suggest
from lorary.files import quote


class CheckedConfigFile(ActionConfigFile):
    """Reads a YAML file of options, after checking their spelling."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Apply one file."""
        check_config(parser, values)
        super().__call__(parser, namespace, values, option_string)


def check_options(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Refuse words such as ``--taks`` that are no option of this parser.

    Raises:
        ValueError: naming every unknown option, and the known ones nearest to it.
    """
    known = {option[2:] for option in parser._option_string_actions if option.startswith("--")}
    options = takewhile(lambda word: word != "--", words)
    given = [word[2:].partition("=")[0] for word in options if word.startswith("--")]
    faults = [_describe(option, known) for option in given if option.removesuffix("+") not in known]
    if faults:
        raise ValueError("; ".join(faults))


def check_config(parser: ArgumentParser, file: str) -> None:
    """Refuse a YAML file with keys that are no option of this parser.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it holds no mapping, or unknown keys: all of them are named.
    """
    known = set(parser.get_defaults().keys())
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{quote(file)} is not a YAML file: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{quote(file)} must map options to values, found {quote(content)}")
    faults = [_describe(key, known) for key in _find_unknown(content, known)]
    if faults:
        raise ValueError(f"{quote(file)} has an " + "; ".join(faults))


def _describe(option: str, known: set[str]) -> str:
    return f"unknown option {quote(option)}: {suggest(option, known)}"


def _find_unknown(content: Mapping[Any, Any], known: set[str], above: str = "") -> Iterator[str]:
    for key, value in content.items():
        path = f"{above}{key}"
        # What lies below a known key, such as a mapping's own keys, is for its type to judge.
        if path in known:
            continue
        if isinstance(value, Mapping) and any(name.startswith(f"{path}.") for name in known):
            yield from _find_unknown(value, known, f"{path}.")
        else:
            yield path
