import datasets
import pytest

from lorary.data import Example, Task, gather_tasks

ROWS = [{"input": f"{number} + 1", "target": str(number + 1)} for number in range(20)]


def test_what_python_users_have_becomes_the_same_task(tmp_path):
    pandas = pytest.importorskip("pandas")
    data = datasets.Dataset.from_list(ROWS)
    found = gather_tasks({"rows": ROWS, "data": data, "table": pandas.DataFrame(ROWS)})
    assert list(found) == ["rows", "data", "table"]
    assert found["rows"].splits == found["data"].splits == found["table"].splits
    assert found["rows"].name == "rows" and sum(map(len, found["rows"].splits.values())) == 20


def test_splits_stay_apart_and_a_task_stays_what_it_is():
    task = Task("sums", {"test": (Example("1 + 1", ("2",)),)})
    parts = {"train": ROWS[:15], "test": ROWS[15:]}
    data = datasets.DatasetDict({split: datasets.Dataset.from_list(rows) for split, rows in parts.items()})
    given = {"mine": task, "parts": parts, "dict": data}
    found = gather_tasks(given)
    assert found["mine"] is task
    assert found["parts"].splits == found["dict"].splits
    assert [len(found["parts"].splits[split]) for split in ("train", "test")] == [15, 5]


def test_something_else_is_refused():
    with pytest.raises(TypeError, match="a task must be a path, an id or rows, found 3"):
        gather_tasks({"sums": 3})
