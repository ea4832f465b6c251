import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

import lorary
from lorary.files import say_count


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 experts"), (1, "1 expert"), (2, "2 experts"), (12_345, "12,345 experts")]
)
def test_only_one_thing_has_the_singular(number, text):
    assert say_count(number, "expert") == text


def test_a_plural_may_be_irregular():
    assert [say_count(number, "entry", "entries") for number in (1, 2)] == ["1 entry", "2 entries"]


# Nouns of this package's messages, and how a number of them is recognised in its code.
PLURALS = re.compile(
    r" (?:[a-z-]+ ){0,2}(?:answers|artifacts|blocks|bytes|cells|columns|digits|documents|entries|examples"
    r"|experts|files|layers|lines|merges|modules|numbers|others|parameters|patterns|positions|problems|prompts|requests"
    r"|rounds|routes|rows|sequences|splits|steps|tasks|tensors|texts|tokens|values|weights)\b"
)
NUMBER = re.compile(r"\blen\(|\bnum_|\bcount\b|\bstep\b|\blength\b|\bparameters\b")
# Where one of them cannot be, or the noun does not belong to the number ("1 of its modules").
ALLOWED = {"digits, more than", "of its modules", "different ones", "are there", "tokens/s"}


def find_own_plurals(path):
    """Find the numbers in a file's texts that are followed by a plural, whatever the number is."""
    for node in ast.walk(ast.parse(path.read_text())):
        for value, text in pairwise(node.values if isinstance(node, ast.JoinedStr) else ()):
            if isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant):
                code = ast.unparse(value.value)
                is_number = NUMBER.search(code) and not re.search(r"say_|quote\(|join\(", code)
                if is_number and PLURALS.match(text.value) and not any(w in text.value for w in ALLOWED):
                    yield f"{path.name}:{value.lineno} {code}{text.value[:30]}"


def test_every_text_with_a_number_of_things_has_the_right_form_of_the_noun():
    """Guards ``mean of 1 tasks`` and all of that kind: ``say_count`` writes number and noun."""
    files = Path(lorary.__file__).parent.rglob("*.py")
    assert [found for path in sorted(files) for found in find_own_plurals(path)] == []


def test_a_number_before_a_plural_is_found(tmp_path):
    texts = ("{len(x)} tasks", "of {num_tasks} own tasks", "{say_count(len(x), 'task')}", "{x:,} tasks")
    (tmp_path / "code.py").write_text("\n".join(f'f"{text}"' for text in texts))
    assert len(list(find_own_plurals(tmp_path / "code.py"))) == 2
