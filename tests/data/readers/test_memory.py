import datasets
import pandas
import pytest

from lorary.data.readers import read_task

ROWS = [{"question": f"q{number}", "answer": f"a{number}", "note": None} for number in range(40)]


@pytest.mark.parametrize("make", [list, iter, datasets.Dataset.from_list, pandas.DataFrame])
def test_rows_in_memory_are_read_as_a_files_are(make, write_rows):
    found = read_task(make(ROWS), name="sums")
    assert found == read_task(write_rows(ROWS), name="sums")


def test_a_data_set_of_splits_keeps_them():
    parts = {"train": datasets.Dataset.from_list(ROWS[:30]), "test": datasets.Dataset.from_list(ROWS[25:])}
    task = read_task(datasets.DatasetDict(parts), name="sums")
    assert (len(task.split("train")), len(task.split("test")), task.num_overlapping) == (25, 15, 5)


def test_rows_must_have_a_name_and_be_rows():
    with pytest.raises(ValueError, match="pass one, as in name='sums'"):
        read_task(ROWS)
    with pytest.raises(TypeError, match="must be a path, an id or rows, found 3"):
        read_task(3, name="sums")
