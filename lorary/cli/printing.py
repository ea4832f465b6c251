"""Print lines and JSON. Commands print only through this module and ``console``, which escape every text."""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from lorary.cli.screen import GuardedStream, silence
from lorary.files import dump_json, escape


def print_line(text: str, *, stderr: bool = False, indent: int = 0) -> None:
    """Print one line, with control characters and line breaks escaped.

    Args:
        text: the line; a terminal shows it wrapped between words, a pipe or file gets it as it is.
        stderr: whether to print on stderr.
        indent: number of blanks before the lines that continue it.
    """
    stream = sys.stderr if stderr else sys.stdout
    shown = escape(text, keep="")
    print(wrap_line(shown, indent) if stream is not None and stream.isatty() else shown, file=stream)


def wrap_line(text: str, indent: int = 0) -> str:
    """Wrap a line between words to the terminal's width; words that are longer than it stay whole."""
    width = shutil.get_terminal_size().columns
    if len(text) <= width:
        return text
    lines = textwrap.wrap(
        text,
        max(width, indent + 20),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return "\n".join(lines)


def print_lines(text: str) -> None:
    """Print a text of several lines, each one escaped."""
    for line in text.splitlines():
        print_line(line)


def print_error(text: str) -> None:
    """Print lines on stderr; a closed pipe or a full disk is not a further error."""
    try:
        for line in text.splitlines():
            print_line(line, stderr=True)
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def print_answer(text: str) -> None:
    """Print a model's answer: escaped on a terminal, exact into a pipe or a file."""
    stream = sys.stdout.stream if isinstance(sys.stdout, GuardedStream) else sys.stdout
    if stream is not None:
        print(escape(text) if stream.isatty() else text, file=stream)


def print_facts(facts: Sequence[tuple[str, str]], *, stderr: bool = False) -> None:
    """Print a label and a text per line."""
    for label, text in facts:
        print_line(f"{label:<9} {text}", stderr=stderr, indent=10)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print_lines(dump_json(value, allow_nan=True))


def print_json_line(value: Any) -> None:
    """Print a value as JSON on one line, which a terminal wraps by itself."""
    print(dump_json(value, indent=None, allow_nan=True))


def format_count(number: int | None) -> str:
    """Write a number with thousands separators; None becomes an empty text."""
    return "" if number is None else f"{number:,}"
