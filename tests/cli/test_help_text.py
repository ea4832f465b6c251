import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lorary.cli.command_table import COMMANDS, load_command
from lorary.cli.help_text import ONE_NAME, name_value

WIDTHS = (60, 80, 120)


@pytest.fixture
def help_of(lorary, monkeypatch):
    """Prints the help of a command on a terminal of a given width."""

    def print_help(width, *words):
        monkeypatch.setenv("COLUMNS", str(width))
        code, output, errors = lorary(*words, "--help-all" if " ".join(words) in COMMANDS else "--help")
        assert (code, errors) == (0, "")
        return output

    return print_help


@pytest.mark.parametrize("name", ["", "data", "library", *COMMANDS])
def test_help_is_as_wide_as_the_terminal(help_of, name):
    """Guards descriptions, examples and options wider than the terminal, which breaks them within words."""
    for width in WIDTHS[1:]:
        longest = max(map(len, help_of(width, *name.split()).splitlines()))
        assert longest <= width
    # An option with its value is not broken, however narrow the terminal is.
    lines = help_of(WIDTHS[0], *name.split()).splitlines()
    assert all(len(line) <= WIDTHS[0] or line.strip().startswith(("[--", "--", "lorary")) for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_a_user_types(help_of, name):
    """Guards Python's types, such as ``tuple[str, ...] | None``, and doubled percent signs in the help."""
    text = help_of(100, *name.split())
    for word in ("type:", "Literal", "null)", "None", "list[", "dict[", "tuple[", "``", "default: False"):
        assert word not in text
    assert not re.search(r"\b(str|int|float|bool)\b \||%%", text)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_is_a_command_line_however_it_is_wrapped(help_of, name):
    example = load_command(name).EXAMPLE
    shown = help_of(60, *name.split()).partition("example:\n")[2]
    assert " ".join(shown.replace("\\\n", " ").split()) == example
    assert all(line.endswith(" \\") for line in shown.splitlines()[:-1])


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (int, "NUMBER"),
        (float | None, "NUMBER"),
        (Path | None, "PATH"),
        (dict[str, list[str]] | None, "JSON"),
        (Mapping[str, float], "JSON"),
        (Sequence[str] | None, "[TEXT,…]"),
        (str | list[str], "NAME|[NAME,…]"),
        (str | int | None, None),
        (str, None),
        (None, None),
    ],
)
def test_values_are_named_after_their_types(kind, shown):
    assert name_value(kind) == shown


def test_choices_are_shown_in_place_or_after_the_help(help_of):
    text = " ".join(help_of(80, "train").split())
    assert "--turns {last,all} Which of" in text and "--fresh Start over" in text
    text = " ".join(help_of(80, "eval").split())
    assert f"--evaluation.truncation {ONE_NAME} What to do" in text
    assert "(one of error, prompt-left, prompt-middle, skip, default: skip)" in text


def test_defaults_are_written_as_they_are_typed(help_of):
    text = " ".join(help_of(80, "train").split())
    assert "(default: 0.001)" in text and "(default: 16)" in text and "(default: true)" in text
    assert "(required)" in text
