import json

import pytest

from lorary.data import read_task
from lorary.data.readers.natural_instructions import read_categories

TASK = {"Instances": [{"input": f"{n}", "output": [f"{n}."]} for n in range(20)]}


def test_a_task_file_tells_its_categories(tmp_path):
    place = tmp_path / "task1_x.json"
    place.write_text(json.dumps({"Categories": ["Text  Completion", "Poetry"], "Definition": "Do.", **TASK}))
    assert read_task(place).categories == ("Text Completion", "Poetry")
    place.write_text(json.dumps({"Definition": "Do.", **TASK}))
    assert read_task(place).categories == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("One", ("One",)),
        (["a", "a", 7, " ", "b"], ("a", "b")),
        (7, ()),
        ({"a": 1}, ()),
        (["x" * 999], ("x" * 80,)),
        ([str(n) for n in range(99)], tuple(map(str, range(8)))),
    ],
)
def test_categories_are_a_few_short_texts(given, expected):
    assert read_categories({"Categories": given}) == expected
