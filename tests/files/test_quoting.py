import sys

import pytest

from lorary.files import escape, quote
from lorary.files.quoting import is_visible


@pytest.mark.parametrize(
    "value", ["poetry", "詩", 7, 0.5, None, True, b"ab", ["a", 1], {"a": {"b": [1]}}, ()]
)
def test_a_short_value_is_quoted_as_repr_does(value):
    assert quote(value) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**7,
        b"x" * 10**7,
        10**5000,
        -(10**5000),
        ["x" * 1000] * 1000,
        {f"key {n}": ["y" * 1000] * 50 for n in range(1000)},
        {"x" * 10**6},
        "\x1b" * 1000,
        [[[[[[[[[[["deep"]]]]]]]]]]],
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_is_quoted_in_at_most_200_printable_characters(value):
    quoted = quote(value)
    assert 0 < len(quoted) <= 200
    assert quoted.isprintable()


def test_values_that_hold_themselves_are_quoted():
    value = []
    value.append(value)
    assert len(quote(value)) <= 200


@pytest.mark.parametrize("limit", [20, 60, 200])
def test_both_ends_of_a_long_text_are_shown(limit):
    short = escape("a" * 500 + "z", longest=limit)
    assert len(short) == limit
    assert short.startswith("aaa")
    assert short.endswith("z")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain", "plain"),
        ("é 詩 👩\u200d🚀", "é 詩 👩\u200d🚀"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\rb\x08\x07\x9b", "a\\rb\\x08\\x07\\x9b"),
        ("abc\u202edcb", "abc\\u202edcb"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("half \ud800", "half \\ud800"),
        ("lines\n\tkept", "lines\n\tkept"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_would_act_on_becomes_an_escape(text, escaped):
    assert escape(text) == escaped
    assert escape(text).encode()


def test_every_character_that_is_let_through_is_printable_or_joins():
    shown = [chr(code) for code in range(sys.maxunicode + 1) if is_visible(chr(code))]
    hidden = [character for character in shown if not character.isprintable()]
    # Spaces other than U+0020 count as not printable in Python; they are harmless.
    assert {character for character in hidden if not character.isspace()} == {"\u200c", "\u200d"}
    assert all(escape(character) != character for character in "\x1b\x9b\u2028\u2066\ud800\x7f")
