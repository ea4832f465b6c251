import json

import pytest


@pytest.fixture
def rows(tmp_path):
    found = [
        {"task": task, "part": part, "source": f"{task} {number}", "target": str(number)}
        for task in ("sums", "dates")
        for part, count in (("train", 3), ("dev", 1))
        for number in range(count)
    ]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(tmp_path / "all.jsonl")


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_task_and_split_has_its_file_with_its_rows(lorary, tmp_path, rows):
    out = tmp_path / "tasks"
    code, output, errors = lorary(
        "data", "split", rows, "--by", "task", "--split-by", "part", "--out", str(out)
    )
    assert code == 0, errors
    assert "8 rows of 2 tasks in" in output
    names = {"dates.train.jsonl", "dates.validation.jsonl", "sums.train.jsonl", "sums.validation.jsonl"}
    assert {path.name for path in out.iterdir()} == names
    assert [row["source"] for row in read(out / "sums.train.jsonl")] == ["sums 0", "sums 1", "sums 2"]
    # Other commands read the folder.
    words = ("--columns", "input=source", "target=target", "--json")
    code, output, errors = lorary("data", "show", str(out), *words)
    assert code == 0, errors
    assert [task["task"] for task in json.loads(output)] == ["dates", "sums"]


def test_tasks_are_left_out_and_rows_are_limited(lorary, tmp_path, rows):
    out = tmp_path / "tasks"
    words = ("--by", "task", "--without", "dates", "--max-rows", "2", "--out", str(out))
    code, _, errors = lorary("data", "split", rows, *words)
    assert code == 0, errors
    assert [path.name for path in out.iterdir()] == ["sums.train.jsonl"]
    assert len(read(out / "sums.train.jsonl")) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--by", "taks"), "has no text in column 'taks': did you mean 'task'"),
        (("--by", "task", "--split-by", "source"), "has split 'sums 0': it must be one of train"),
        (
            ("--by", "task", "--without", "datse"),
            "--without names 'datse', which is not a task of the data set: did you mean 'dates'",
        ),
        (("--by", "task", "--without", "dates", "sums"), "has no row to keep"),
        (("--by", "task", "--max-rows", "0"), "--max-rows must be at least 1"),
    ],
)
def test_faults_leave_nothing_behind(lorary, tmp_path, rows, words, message):
    code, _, errors = lorary("data", "split", rows, *words, "--out", str(tmp_path / "tasks"))
    assert code == 2
    assert message in errors
    assert [path.name for path in tmp_path.iterdir()] == ["all.jsonl"]


def test_a_folder_that_is_there_is_kept(lorary, tmp_path, rows):
    (tmp_path / "tasks.part").mkdir()
    (tmp_path / "tasks.part" / "mine").touch()
    assert lorary("data", "split", rows, "--by", "task", "--out", str(tmp_path / "tasks"))[0] == 0
    assert (tmp_path / "tasks.part" / "mine").exists(), "a folder of that name was deleted"
    code, _, errors = lorary("data", "split", rows, "--by", "task", "--out", str(tmp_path))
    assert code == 2
    assert "already exists: name a new folder, or delete it" in errors
