"""Refuse unknown options, all in one message, each with the nearest known ones."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from lorary.cli.group_switch import is_switch
from lorary.cli.near_names import suggest_option
from lorary.files import quote
from lorary.files.yaml_text import read_yaml, refuse_yaml_bomb

# Shorter values cannot exhaust the YAML parser by nesting or repetition.
SHORT = 60
# Faults in one message; more would fill the screen.
MAX_FAULTS = 5


class CheckedConfigFile(ActionConfigFile):
    """Reads a YAML file of options within limits, and checks their spelling."""

    @staticmethod
    def apply_config(parser: Any, cfg: Namespace, dest: str, value: str) -> None:
        """Apply one file, which is read here, within limits, instead of by jsonargparse."""
        content = read_config(parser, value)
        unchecked = {"_skip_validation": True, "_skip_required": True}
        found = parser.parse_object(content, env=False, defaults=False, **unchecked)
        for key, part in found.items():
            cfg[key] = part


def check_options(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Refuse words such as ``--taks`` that are not options of this parser.

    Raises:
        ValueError: with every unknown option and the nearest known ones.
    """
    known = [option[2:] for option in parser._option_string_actions if option.startswith("--")]
    groups = find_groups(parser)
    options = takewhile(lambda word: word != "--", words)
    given = [word[2:].partition("=")[0] for word in options if word.startswith("--")]
    faults = [_describe(option, known, parser) for option in given if option.removesuffix("+") not in known]
    faults += [
        f"--{option} is a group of options and takes no value: use --{option}.NAME, or a file with --config"
        for option in given
        if option in groups and not is_switch(groups[option])
    ]
    if faults:
        raise ValueError(_join(faults))


def find_groups(parser: ArgumentParser) -> dict[str, argparse.Action]:
    """Find the options of whole groups; jsonargparse takes files and import paths as their values."""
    return {
        action.dest: action
        for action in parser._actions
        if any(option.startswith(f"--{action.dest}.") for option in parser._option_string_actions)
    }


def check_words(words: Sequence[str]) -> None:
    """Refuse words that are not UTF-8, or whose values would exhaust the YAML parser.

    Raises:
        ValueError: with the word.
    """
    for word in words:
        value = word.partition("=")[2] if word.startswith("--") else word
        _check_text(value, f"argument {quote(word, 60)}")


def read_config(parser: ArgumentParser, file: str) -> dict[str, Any]:
    """Read a YAML file of options.

    Raises:
        OSError: if the file cannot be read.
        FormatError: if it is not YAML, or exceeds a limit.
        ValueError: if there is no such file, it is not a mapping, or has keys that are not options; the first
            are named.
    """
    try:
        content = read_yaml(file)
    except FileNotFoundError as error:
        raise ValueError(f"option file {quote(file)} does not exist: check --config") from error
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ValueError(f"{quote(file)} must map options to values, found {quote(content)}")
    known = list(parser.get_defaults().keys())
    faults = [_describe(key, known, parser) for key in _find_unknown(content, known)]
    if faults:
        raise ValueError(f"{quote(file)} has an " + _join(faults))
    for text in _list_texts(content):
        _check_text(text, f"{quote(file)}: {quote(text, 60)}")
    return dict(content)


def _list_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple | set):
        parts = [part for pair in value.items() for part in pair] if isinstance(value, Mapping) else value
        for part in parts:
            yield from _list_texts(part)


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} must be UTF-8 text: correct it, or rename the file") from error
    if "\0" in text:
        raise ValueError(f"{where} must not contain a null character: remove it")
    # jsonargparse parses every value as YAML.
    if len(text) > SHORT:
        try:
            refuse_yaml_bomb(text)
        except ValueError as error:
            raise ValueError(f"{where} cannot be an option's value: {error}") from error


def _join(faults: Sequence[str]) -> str:
    return "; ".join([*faults[:MAX_FAULTS], *(["…"] if len(faults) > MAX_FAULTS else [])])


def _describe(option: str, known: Sequence[str], parser: ArgumentParser) -> str:
    return f"unknown option {quote(option, 60)}: {suggest_option(option[:100], known, parser.prog)}"


def _find_unknown(content: Mapping[Any, Any], known: Sequence[str], above: str = "") -> Iterator[str]:
    for key, value in content.items():
        path = f"{above}{key}"
        # Keys below a known option belong to its value, which its type checks.
        if path in known:
            continue
        if isinstance(value, Mapping) and any(name.startswith(f"{path}.") for name in known):
            yield from _find_unknown(value, known, f"{path}.")
        else:
            yield path
