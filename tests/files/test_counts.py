import pytest

from lorary.files import say_count


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 experts"), (1, "1 expert"), (2, "2 experts"), (12_345, "12,345 experts")]
)
def test_only_one_thing_has_the_singular(number, text):
    assert say_count(number, "expert") == text


def test_a_plural_may_be_irregular():
    assert [say_count(number, "entry", "entries") for number in (1, 2)] == ["1 entry", "2 entries"]
