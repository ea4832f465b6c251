import math

from lorary.data.readers.fields import Fields


def test_a_field_is_found_as_it_is_written_or_else_in_any_case():
    row = Fields({"Prompt": "a", "answer": "b", "ANSWER": "c"})
    assert (row["prompt"], row["answer"], row["ANSWER"], row.get("Answer")) == ("a", "b", "c", "b")
    assert "PROMPT" in row and "question" not in row


def test_a_field_without_a_value_is_not_there():
    row = Fields({"a": None, "b": math.nan, "c": "", "D": 0})
    assert list(row) == ["c", "D"] and "a" not in row
    assert row.columns == {"a", "b", "c", "d"}


def test_what_is_read_is_noted_and_what_is_looked_for_is_not():
    row = Fields({"A": 1, "b": 2, "c": 3})
    assert "b" in row and row.get("a") == 1 and row.get("x") is None
    assert row.used == {"A"}
