"""Read a command's options from a YAML file and the command line, which has precedence."""

import argparse
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from lorary.cli.command import Command
from lorary.cli.group_switch import is_switch
from lorary.cli.help_text import HelpFormatter, name_values
from lorary.cli.printing import print_lines
from lorary.cli.short_help import keep_common
from lorary.cli.spelling import CheckedConfigFile, check_options, check_words, find_groups
from lorary.cli.value_errors import explain_value, find_key
from lorary.files import escape

# Longest message in characters: jsonargparse quotes whole values.
LONGEST = 600
MISSING = "the following arguments are required: "
HELP, HELP_ALL = {"-h", "--help"}, "--help-all"


class WrongValues(ValueError):
    """Options have values of the wrong type.

    Args:
        name: the command.
        faults: a message for each of them.
        others: all options, with defaults in place of the wrong ones; None if other faults do not allow any.
    """

    def __init__(self, name: str, faults: Sequence[str], others: Namespace | None):
        super().__init__(f"{'; '.join(faults)}: see lorary {name} --help")
        self.faults = list(faults)
        self.others = others


def read_options(name: str, command: Command, words: Sequence[str]) -> Namespace | None:
    """Read the options of a command.

    Returns:
        The options by name, with defaults for those not given; as ``words`` the words themselves, and as
        ``given`` the names of those in words or files. None after ``--help`` or ``--help-all``, which is
        printed.

    Raises:
        WrongValues: if options have values of the wrong type; with all of them.
        ValueError: if an option is unknown or missing.
    """
    parser = build_parser(name, command)
    optional = getattr(command, "OPTIONAL", "")
    asked = set(takewhile(lambda word: word != "--", words))
    if asked & {*HELP, HELP_ALL}:
        common = getattr(command, "COMMON", ())
        _let_out(parser, optional)
        if common and HELP_ALL not in asked:
            keep_common(parser, name, common)
        print_lines(parser.format_help())
        return None
    check_words(words)
    check_options(parser, words)
    try:
        options, faults = _parse_all(parser, words, optional)
    except (ArithmeticError, RecursionError) as error:
        raise ValueError(f"an option's value is out of range ({error}): see lorary {name} --help") from error
    except SystemExit as ended:
        if ended.code:
            raise ValueError(f"the options cannot be parsed: see lorary {name} --help") from ended
        # jsonargparse exits after --print_config.
        return None
    if options is not None:
        options.words = list(words)
    if faults or options is None:
        raise WrongValues(name, faults, options)
    options.given = frozenset(_parse_words(parser, words, optional, defaults=False).keys())
    return options


def _parse_all(
    parser: ArgumentParser, words: Sequence[str], optional: str
) -> tuple[Namespace | None, list[str]]:
    """Parse words; options with wrong values get their defaults.

    Returns:
        The options, None if they cannot be parsed so; and a message for each fault.
    """
    wrong: list[argparse.Action] = []
    faults: list[str] = []
    is_complete = True
    while True:
        try:
            options = _parse_words(parser, words, optional)
            break
        except argparse.ArgumentError as error:
            report = str(error)
            faults.append(escape(_name_missing(explain_value(report), parser), longest=LONGEST))
            key = find_key(report)
            action = next((each for each in parser._actions if each.dest == key), None)
            if action is None or action in wrong:
                return None, faults
            wrong.append(action)
            # What suits a method, or another default choice, is not known.
            is_complete = is_complete and not (action.choices and action.default)
            # The next attempt comes to the next wrong value.
            action.choices, action._typehint = None, Any  # type: ignore[attr-defined]
    for action in wrong:
        options[action.dest] = parser.get_default(action.dest)
    return options if is_complete else None, faults


def _name_missing(message: str, parser: ArgumentParser) -> str:
    """Write the options in a report of missing arguments in the form in which they are typed."""
    start, report, names = message.partition(MISSING)
    if start or not report:
        return message
    typed = {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}
    return MISSING + ", ".join(typed.get(name, name) for name in names.split(", "))


def _parse_words(
    parser: ArgumentParser, words: Sequence[str], optional: str, defaults: bool = True
) -> Namespace:
    """Parse words; an optional argument that is left out is None.

    argparse would take an optional argument as left out if options stand between it and the one before.
    """
    try:
        return parser.parse_args(list(words), defaults=defaults)
    except argparse.ArgumentError:
        if not optional:
            raise
        _let_out(parser, optional)
        try:
            return parser.parse_args(list(words), defaults=defaults)
        except argparse.ArgumentError:
            # The first message is more informative.
            pass
        raise


def _let_out(parser: ArgumentParser, optional: str) -> None:
    """Make an argument optional."""
    for action in parser._actions:
        if not action.option_strings and action.dest == optional:
            action.nargs, action.required = "?", False


def build_parser(name: str, command: Command) -> ArgumentParser:
    """Build the parser of one command."""
    # Options that come from a dataclass take their help from its field docstrings.
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog=f"lorary {name}",
        description=command.__doc__,
        epilog=f"example:\n  {command.EXAMPLE}",
        formatter_class=HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", action=CheckedConfigFile, metavar="FILE", help="Read options from a YAML file"
    )
    command.add_arguments(parser)
    for group in find_groups(parser).values():
        if not is_switch(group):
            group.help = argparse.SUPPRESS
    name_values(parser._actions)
    for action in parser._actions:
        if HELP & set(action.option_strings):
            action.help = "Show this help and exit"
        elif "--print_config" in action.option_strings:
            # jsonargparse puts a backspace into this text, which guarded streams show as an escape.
            action.metavar = "[=FLAGS]"
            action.help = "Print all options as YAML and exit; FLAGS: skip_default, skip_unset"
    return parser
