import os

import pytest

from lorary.cli.task_places import group_files, parse_places
from lorary.errors import DataError, FormatError


def test_words_are_places_with_or_without_a_name():
    given = ["a.jsonl", "poetry=b.jsonl", "hf:owner/name", "x=hf:owner/name:main#train", "generated:plurals"]
    assert parse_places(given) == [
        (None, "a.jsonl"),
        ("poetry", "b.jsonl"),
        (None, "hf:owner/name"),
        ("x", "hf:owner/name:main#train"),
        (None, "generated:plurals"),
    ]
    assert parse_places("one.jsonl") == [(None, "one.jsonl")]


def test_a_file_whose_name_has_an_equals_sign_is_that_file(tmp_path, monkeypatch):
    (tmp_path / "k=3.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    assert parse_places(["k=3.jsonl"]) == [(None, "k=3.jsonl")]
    assert parse_places([str(tmp_path / "n=4.jsonl")]) == [(None, str(tmp_path / "n=4.jsonl"))]


def test_a_mapping_names_places_and_splits():
    given = {"poetry": "a.jsonl", "prose": {"train": "b.jsonl", "test": "c.jsonl"}}
    assert parse_places(given) == [("poetry", "a.jsonl"), ("prose", {"train": "b.jsonl", "test": "c.jsonl"})]


def test_a_folder_stands_for_its_task_files(tmp_path):
    names = (
        *("arc.train.jsonl.xz", "arc.validation.jsonl.xz", "boolq.json", "train.jsonl", "dev.jsonl"),
        *("README.md", ".hidden.jsonl", "sst.train.jsonl", "mmlu.test.json.gz"),
    )
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "deeper.jsonl").mkdir()
    place = {name: str(tmp_path / name) for name in names}
    expected = {
        "arc": {"train": place["arc.train.jsonl.xz"], "validation": place["arc.validation.jsonl.xz"]},
        "boolq": place["boolq.json"],
        tmp_path.name: {"train": place["train.jsonl"], "validation": place["dev.jsonl"]},
        "mmlu": {"test": place["mmlu.test.json.gz"]},
        "sst": place["sst.train.jsonl"],
    }
    assert group_files(tmp_path) == expected
    assert dict(parse_places([str(tmp_path)])) == expected


def test_a_folder_of_one_task_may_be_named(tmp_path):
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / name).touch()
    ((name, place),) = parse_places({"poetry": str(tmp_path)})
    assert name == "poetry"
    assert set(place) == {"train", "test"}
    (tmp_path / "other.jsonl").touch()
    with pytest.raises(ValueError, match=r"has 2 tasks .* cannot all be named 'poetry'"):
        parse_places([f"poetry={tmp_path}"])


def test_a_folder_without_task_files_is_refused(tmp_path):
    (tmp_path / "README.md").touch()
    with pytest.raises(DataError, match="contains no task file"):
        parse_places([str(tmp_path)])


def test_a_task_both_whole_and_split_is_refused(tmp_path):
    for name in ("arc.jsonl", "arc.test.jsonl"):
        (tmp_path / name).touch()
    with pytest.raises(
        DataError, match=r"task 'arc' has the file .*arc\.jsonl' and the split file .*arc\.test\.jsonl'"
    ):
        parse_places([str(tmp_path)])


@pytest.mark.parametrize("given", [[], {}, None, 3, [3], {"a": 3}, {"a": {}}, {"a": {"train": 1}}, ""])
def test_what_is_no_place_is_refused(given):
    with pytest.raises(ValueError, match="tasks must be places or NAME=PLACE"):
        parse_places(given)


@pytest.mark.parametrize(
    "given", [["fifo"], {"a": "fifo"}, {"a": {"train": "fifo"}}, ["/dev/zero"], ["x=/dev/null"]]
)
def test_only_regular_files_hold_tasks(tmp_path, monkeypatch, given):
    """Reading a device never ends."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    with pytest.raises(FormatError, match=r"must be a regular file, found a (device|named pipe)"):
        parse_places(given)
