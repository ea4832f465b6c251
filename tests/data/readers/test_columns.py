import pytest

from lorary.data.readers import read_task
from lorary.data.readers.columns import build_columns_format
from lorary.data.task import Example

MAP = {"input": ["question", "context"], "target": "sql"}


def test_columns_say_what_is_asked_and_answered(write_rows):
    rows = [{"Question": f"q{n}", "context": "c", "sql": f"s{n}", "extra": 1} for n in range(3)]
    task = read_task({"train": write_rows(rows)}, columns=MAP)
    assert task.split("train")[0] == Example("q0\n\nc", ("s0",))
    assert (task.formats, task.unused) == (("columns",), ("extra",))


def test_numbers_become_text_and_what_is_empty_is_left_out():
    read = build_columns_format({"input": "a,b", "target": "c", "system": "s", "definition": "d"}).read
    assert read({"a": "", "b": 2, "c": True, "s": "", "d": "Do."}) == Example(
        "2", ("true",), definition="Do."
    )
    assert read({"a": "x", "b": 1.5, "c": 0, "s": "S", "d": ""}).history[0].text == "S"


def test_a_target_without_input_is_a_text_to_write():
    assert build_columns_format({"target": "content"}).read({"content": "A fox."}).is_text


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"inputs": "a", "target": "b"}, r"no part 'inputs': did you mean 'input'\?"),
        ({"input": "a"}, "must name the column of the target"),
        ({"input": [], "target": "b"}, "must name a column, or several, for 'input'"),
        ({"input": "a", "target": 3}, "must name a column, or several, for 'target', not 3"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        build_columns_format(columns)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q", "sql": "s"}, "no column 'context' for the input: known are question, sql"),
        ({"question": "", "context": " ", "sql": "s"}, "'question' and 'context' for the input must not be"),
        ({"question": "q", "context": "c", "sql": ""}, "'sql' for the target must not be empty"),
        ({"question": "q", "context": ["c"], "sql": "s"}, "'context' must be text"),
    ],
)
def test_a_row_that_does_not_fit_the_map_is_refused(row, message):
    with pytest.raises(ValueError, match=message):
        build_columns_format(MAP).read(row)


def test_a_format_and_a_map_together_are_refused(write_rows):
    with pytest.raises(ValueError, match="only one of format and columns may be given"):
        read_task(write_rows([{"a": 1}]), format="pair", columns=MAP)
