"""The texts of ``--help``: wrapped to the terminal, with user-friendly names instead of Python's types."""

import argparse
import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import DefaultHelpFormatter

# In place of choices that would not fit on a line.
ONE_NAME = "NAME"
# In characters, of an option and its choices.
LONGEST_CHOICES = 50
# One word of a command line, or one text in quotes.
_WORD = re.compile(r"'[^']*'|\S+")


class HelpFormatter(DefaultHelpFormatter):
    """Wraps descriptions and examples, and shows the value, help and default of each option."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = [part for part in text.strip().split("\n\n") if part.strip()]
        return "\n\n".join(_wrap_part(part, width) for part in parts)

    def start_section(self, heading: str | None) -> None:
        """Begin a group of options; its heading is wrapped too."""
        super().start_section(heading and textwrap.fill(heading, self._width - 1))

    def _split_lines(self, text: str, width: int) -> list[str]:
        # Names of formats and options have hyphens, and stay in one piece.
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = (action.help or "").rstrip(".").replace("``", "")
        default = "" if action.nargs == 0 else _describe_default(action.default)
        notes = [f"default: {default}"] if default else []
        if action.metavar == ONE_NAME and (choices := list_choices(action)):
            notes.insert(0, f"one of {', '.join(choices)}")
        if action.required and action.option_strings:
            notes.append("required")
        return text + (f" ({', '.join(notes)})" if notes else "")

    def _format_action_invocation(self, action: argparse.Action) -> str:
        names = [name for name in action.option_strings if not name.endswith("+")]
        if not names:
            return super()._format_action_invocation(action)
        default = self._get_default_metavar_for_optional(action)
        value = "" if action.nargs == 0 else f" {self._format_args(action, default)}"
        return ", ".join(names) + value


def name_values(actions: Iterable[argparse.Action]) -> None:
    """Set the text shown as the value of each option that does not define it."""
    for action in actions:
        is_own = action.metavar is not None and not str(action.metavar).startswith("{")
        if is_own or not action.option_strings or action.nargs == 0:
            continue
        choices = list_choices(action)
        if choices:
            shown = f"{{{','.join(choices)}}}"
            is_short = len(action.option_strings[0]) + len(shown) <= LONGEST_CHOICES
            action.metavar = shown if is_short else ONE_NAME
        else:
            action.metavar = name_value(_find_kind(action))


def list_choices(action: argparse.Action) -> list[str]:
    """List the values of an option that has a few fixed ones; empty for others."""
    kind = _find_kind(action)
    kinds = [one for one in (get_args(kind) if _is_union(kind) else (kind,)) if one is not type(None)]
    if kinds == [bool]:
        return ["true", "false"]
    return list(map(str, get_args(kinds[0]))) if kinds and get_origin(kinds[0]) is Literal else []


def _find_kind(action: argparse.Action) -> Any:
    return action.type if action.type is not None else getattr(action, "_typehint", None)


def name_value(kind: Any) -> str | None:
    """Name the value of a type of option, such as ``NUMBER``; None if the option's name is enough."""
    kinds = [one for one in (get_args(kind) if _is_union(kind) else (kind,)) if one is not type(None)]
    if kinds and all(one in (int, float) for one in kinds):
        return "NUMBER"
    origins = [get_origin(one) or one for one in kinds]
    if any(isinstance(one, type) and issubclass(one, Mapping) for one in origins):
        return "JSON"
    if any(isinstance(one, type) and issubclass(one, Path) for one in origins):
        return "PATH"
    if any(isinstance(one, type) and issubclass(one, Sequence) and one is not str for one in origins):
        return "NAME|[NAME,…]" if str in kinds else "[TEXT,…]"
    return None


def wrap_rows(rows: Iterable[tuple[str, str]], longest: int | None = None) -> list[str]:
    """Write names and texts in two columns, wrapped to the terminal's width.

    Args:
        rows: names and texts.
        longest: length of the longest name; None for that of these names.
    """
    found = list(rows)
    start = (max(len(name) for name, _ in found) if longest is None else longest) + 4
    width = max(shutil.get_terminal_size().columns - 2, start + 20)
    lines = []
    for name, text in found:
        first, *others = textwrap.wrap(text, width - start, break_on_hyphens=False)
        lines += [f"  {name:<{start - 2}}{first}", *(" " * start + line for line in others)]
    return lines


def wrap_text(text: str) -> str:
    """Wrap one paragraph to the terminal's width."""
    return _wrap_part(text, shutil.get_terminal_size().columns - 2)


def _wrap_part(part: str, width: int) -> str:
    """Wrap a paragraph; lines of it that are indented are command lines."""
    lines = part.splitlines()
    if not any(line.startswith("  ") for line in lines):
        return textwrap.fill(" ".join(part.split()), width, break_on_hyphens=False)
    return "\n".join(wrap_command(line, width) if line.startswith("  ") else line for line in lines)


def wrap_command(line: str, width: int) -> str:
    """Wrap a command line before options, with backslashes at line ends so that it can be pasted."""
    parts: list[str] = []
    for word in _WORD.findall(line):
        # An option stays together with its values.
        if word.startswith("-") or not parts:
            parts.append(word)
        else:
            parts[-1] += f" {word}"
    lines = [f"  {parts[0]}"]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 3 > width:
            lines.append(f"      {part}")
        else:
            lines[-1] += f" {part}"
    return " \\\n".join(lines)


def _describe_default(default: Any) -> str:
    """Write a default as a user would type it; nothing if there is none."""
    if default is None or default is argparse.SUPPRESS or default == {} or default == []:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    return ", ".join(map(str, default)) if isinstance(default, list | tuple) else str(default)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (UnionType, Union)
