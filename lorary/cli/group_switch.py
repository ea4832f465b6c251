"""A group of options whose own name is a switch: ``--general`` beside ``--general.rank``."""

import json
from typing import Any

from jsonargparse import ArgumentParser


def make_switch(parser: ArgumentParser, group: str, setting: str, text: str) -> None:
    """Make the option of a group's name set one of its settings to true; it takes no value.

    Args:
        parser: has the group, by ``add_class_arguments``.
        group: the group's name.
        setting: the setting.
        text: the option's help.
    """
    action: Any = next(action for action in parser._actions if f"--{group}" in action.option_strings)
    plain: Any = type(action)
    content = json.dumps({setting: True})

    def call(self: Any, *given: Any, **named: Any) -> Any:
        """Act as if a file with this one setting was given."""
        if len(given) > 2:
            given = (*given[:2], content, *given[3:])
        return plain.__call__(self, *given, **named)

    # jsonargparse asks for the class of groups' options, so that a class of its own must be the base.
    action.__class__ = type("GroupSwitch", (plain,), {"__call__": call})
    action.nargs, action.help = 0, text


def is_switch(action: Any) -> bool:
    """Return whether the option of a group's name is a switch."""
    return bool(action.nargs == 0)
