"""The text of ``--help``: the most common options of a command; ``--help-all`` shows all."""

import argparse
from collections.abc import Sequence

from jsonargparse import ArgumentParser

ALWAYS = ("--help", "--config")


def keep_common(parser: ArgumentParser, name: str, common: Sequence[str]) -> None:
    """Leave only some options in the help of a parser, which is not used for anything else afterwards.

    Args:
        parser: the command's parser.
        name: the command's name.
        common: the options to show, such as ``--tasks``, in this order.
    """
    shown = [action for action in parser._actions if action.help is not argparse.SUPPRESS]
    options = {option: action for action in shown for option in action.option_strings}
    chosen = [options[option] for option in (*common, *ALWAYS)]
    rest = [action for action in shown if action.option_strings and action not in chosen]
    for action in rest:
        action.help = argparse.SUPPRESS
    parser._optionals._group_actions[:] = chosen
    for group in parser._action_groups:
        if group not in (parser._positionals, parser._optionals):
            group._group_actions.clear()
            group.description = None
    parser.epilog = f"{len(rest)} more options: lorary {name} --help-all\n\n{parser.epilog}"
