"""Print lines for people and JSON for programs; with ``console``, the only way to print in this room."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from lorary.cli.screen import GuardedStream, silence
from lorary.files import escape, escape_json


def print_line(text: str, *, stderr: bool = False) -> None:
    """Print one line; what a terminal would act on, line breaks too, is escaped."""
    print(escape(text, keep=""), file=sys.stderr if stderr else sys.stdout)


def print_lines(text: str) -> None:
    """Print a text of several lines."""
    for line in text.splitlines():
        print_line(line)


def print_error(text: str) -> None:
    """Print lines on stderr, wherever that goes."""
    try:
        for line in text.splitlines():
            print_line(line, stderr=True)
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def print_answer(text: str) -> None:
    """Print what a model wrote: escaped on a terminal, as it is into a pipe or a file."""
    stream = sys.stdout.stream if isinstance(sys.stdout, GuardedStream) else sys.stdout
    if stream is not None:
        print(escape(text) if stream.isatty() else text, file=stream)


def print_facts(facts: Sequence[tuple[str, str]], *, stderr: bool = False) -> None:
    """Print what is known before some work, a label and a text per line."""
    for label, text in facts:
        print_line(f"{label:<10}{text}", stderr=stderr)


def print_json(value: Any) -> None:
    """Print a value as JSON, and nothing else."""
    print_lines(escape_json(json.dumps(value, indent=2, ensure_ascii=False)))


def format_count(number: int | None) -> str:
    """Write a number with thousands apart; an unknown one as nothing."""
    return "" if number is None else f"{number:,}"
