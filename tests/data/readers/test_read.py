import json
import lzma

import pytest

from lorary.data.readers import read_task
from lorary.data.splits import SplitConfig, split_examples
from lorary.data.task import Example
from lorary.errors import DataError

ROWS = [{"input": f"question {number}", "target": str(number)} for number in range(60)]
EXAMPLES = [Example(row["input"], (row["target"],)) for row in ROWS]


def test_one_file_is_split_by_content(write_rows):
    task = read_task(write_rows(ROWS, "sums.jsonl"))
    assert task.name == "sums"
    assert dict(task.splits) == split_examples(EXAMPLES)


def test_the_order_of_rows_and_their_repetition_change_no_split(write_rows):
    one = read_task(write_rows(ROWS))
    other = read_task(write_rows([*ROWS[::-1], *ROWS[:5]]))
    assert {split: set(part) for split, part in one.splits.items()} == {
        split: set(part) for split, part in other.splits.items()
    }
    assert (one.num_duplicates, other.num_duplicates) == (0, 5)


def test_a_task_file_keeps_its_definition_unless_another_is_given(tmp_path):
    path = tmp_path / "task001_sums.json.xz"
    instances = [
        {"id": f"task001-{row['input']}", "input": row["input"], "output": [row["target"]]} for row in ROWS
    ]
    path.write_bytes(lzma.compress(json.dumps({"Definition": ["Add."], "Instances": instances}).encode()))
    task = read_task(path)
    assert (task.name, task.definition, task.num_examples) == ("task001_sums", "Add.", 60)
    assert read_task(str(path), definition="Sum up.", name="sums").definition == "Sum up."


def test_given_files_per_split_the_files_decide_and_train_loses_what_test_asks(write_rows):
    files = {"test": write_rows(ROWS[30:], "test.jsonl"), "train": write_rows(ROWS[:35], "train.jsonl")}
    task = read_task(files, name="sums")
    assert task.split("train") == tuple(EXAMPLES[:30])
    assert task.split("test") == tuple(EXAMPLES[30:])
    assert task.num_overlapping == 5


def test_caps_hold_with_one_file_and_with_files_per_split(write_rows):
    path = write_rows(ROWS)
    config = SplitConfig(max_train=7, max_test=2)
    assert len(read_task(path, splits=config).split("train")) == 7
    assert len(read_task({"train": path}, splits=config).split("train")) == 7


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("sums.jsonl.xz", "sums"),
        ("boolq/train.jsonl", "boolq"),
        ("mmlu/dev.jsonl", "mmlu"),
        ("arc/ARC-Easy.train.jsonl", "ARC-Easy"),
        ("task1530_scitail1.1_generation.json", "task1530_scitail1.1_generation"),
        ("v1.5", "v1.5"),
    ],
)
def test_a_task_is_named_after_its_file_or_after_the_folder_of_a_split(write_rows, file, name):
    assert read_task(write_rows(ROWS, file)).name == name


def test_bad_rows_are_named_or_counted(write_rows):
    path = write_rows([ROWS[0], {"input": "x"}, *ROWS[1:]], "bad.jsonl")
    with pytest.raises(DataError, match=r"bad\.jsonl', line 2: a row with 'input' must have 'target' too"):
        read_task(path)
    task = read_task(path, skip_bad=True)
    assert (task.num_examples, task.num_skipped) == (60, 1)


def test_a_bad_instance_is_named_by_number_and_id(tmp_path):
    instances = [{"id": "t-7", "input": "a", "output": ["1"]}, {"id": "t-8", "input": "", "output": ["1"]}]
    path = tmp_path / "task.json"
    path.write_text(json.dumps({"Definition": ["Add."], "Instances": instances}))
    with pytest.raises(DataError, match=r"task\.json', instance 2 \('t-8'\): 'input' is empty"):
        read_task(path)


def test_places_for_no_split_or_an_unknown_one_are_refused(write_rows):
    path = write_rows(ROWS)
    with pytest.raises(ValueError, match=r"splits among \('train', 'validation', 'test'\), not \['dev'\]"):
        read_task({"train": path, "dev": path})
    with pytest.raises(ValueError, match=r"turns must be one of \('last', 'all'\), found 'each'"):
        read_task(ROWS, name="sums", turns="each")
    with pytest.raises(ValueError, match="not for none"):
        read_task({})


def test_an_unknown_format_is_refused(write_rows):
    with pytest.raises(ValueError, match="there is no format 'paire'"):
        read_task(write_rows(ROWS), format="paire")
