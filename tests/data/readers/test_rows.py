import pytest

from lorary.data.readers.rows import read_rows
from lorary.data.source import Record, Source
from lorary.errors import DataError

GOOD = {"input": "a", "target": "1"}
BAD = {"input": "a", "target": ""}


def source_of(*rows):
    return Source(
        name="rows.jsonl", records=[Record(f"line {n}", row) for n, row in enumerate(rows, start=1)]
    )


def test_rows_become_examples_in_order():
    found = read_rows(source_of(GOOD, {"input": "b", "target": "2"}))
    assert [example.input for example in found.examples] == ["a", "b"]
    assert found.num_skipped == 0


def test_bad_rows_are_counted_where_that_is_asked_for_wherever_they_stand():
    rows = [{"colour": "red"}, BAD, GOOD, ValueError("not valid JSON"), "text", BAD]
    found = read_rows(source_of(*rows), skip_bad=True)
    assert len(found.examples) == 1
    assert found.num_skipped == 5


def test_a_format_can_be_told():
    row = {"question": "Hue?", "choices": ["a", "b"], "answer": "1", "text": "Write f.", "code": "f"}
    assert read_rows(source_of(row)).examples[0].input == "Hue?"
    assert read_rows(source_of(row), format="pair").examples[0].choices is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (BAD, r"'rows.jsonl', line 2: 'target' is empty \(--skip-bad, in Python skip_bad=True, leaves such"),
        ({"input": "b"}, "'rows.jsonl', line 2: a row with 'input' must have 'target' too, found 'input'"),
        (ValueError("not valid JSON: x"), "'rows.jsonl', line 2: not valid JSON: x"),
        (["a"], r"'rows.jsonl', line 2: a row must be a JSON object with fields, not \['a'\]"),
    ],
)
def test_a_bad_row_is_refused_by_file_and_line(row, message):
    with pytest.raises(DataError, match=message):
        read_rows(source_of(GOOD, row))


def test_a_map_that_fits_no_row_is_refused_with_the_nearest_columns():
    """Guards advice to leave out bad rows where the map of columns is mistyped."""
    with pytest.raises(DataError, match=r"no column 'inptu' for the input: did you mean 'input'\?$"):
        read_rows(source_of(GOOD), columns={"input": "inptu", "target": "target"})
    with pytest.raises(DataError, match=r"no column 'question' for the input: known are a, b$"):
        read_rows(source_of({"a": "1", "b": "2"}), columns={"input": "question", "target": "b"})
    with pytest.raises(DataError, match=r"line 2: there is no column 'input' .* leaves such rows out"):
        read_rows(source_of(GOOD, {"target": "x"}), columns={"input": "input", "target": "target"})


def test_a_source_without_a_usable_row_is_refused_even_where_bad_rows_are_skipped():
    with pytest.raises(
        DataError, match="must have at least one usable row: all 2 are bad, the first is line 1: 'ta"
    ):
        read_rows(source_of(BAD, BAD), skip_bad=True)
    with pytest.raises(DataError, match="at least one usable row: it has no rows"):
        read_rows(source_of())
