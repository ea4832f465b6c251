import datasets
import pytest

from lorary.data.hub import HubId, list_hub_splits, name_hub_task, open_hub_split, parse_hub_id
from lorary.data.readers import read_task
from lorary.errors import DataError

ROWS = [{"input": f"question {number}", "target": str(number)} for number in range(40)]


@pytest.fixture
def hub(monkeypatch):
    """A hub with two data sets; returns what was asked of it."""
    asked = []
    one, other = datasets.Dataset.from_list(ROWS[:30]), datasets.Dataset.from_list(ROWS[25:])
    known = {
        ("own/whole", None): datasets.DatasetDict({"train": one}),
        ("own/parts", "easy"): datasets.DatasetDict({"train": one, "test": other, "extra": other}),
        ("own/odd", None): datasets.DatasetDict({"first": one, "second": other}),
    }

    def load(path, name=None):
        asked.append((path, name))
        if (path, name) not in known:
            raise datasets.exceptions.DatasetNotFoundError(f"{path} is not on the hub")
        return known[path, name]

    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def test_an_id_is_taken_apart():
    assert parse_hub_id("hf:own/data") == HubId("own/data", None, None)
    assert parse_hub_id("hf:own/data:easy#test") == HubId("own/data", "easy", "test")
    assert parse_hub_id("hf:own/data#test") == HubId("own/data", None, "test")
    assert name_hub_task("hf:own/data:easy#test") == "data-easy"
    assert name_hub_task("hf:own/data") == "data"


def test_a_data_set_with_one_split_is_split_by_content(hub):
    task = read_task("hf:own/whole")
    assert task.name == "whole"
    assert task.num_examples == 30
    assert set(task.splits) == {"train", "validation", "test"}
    assert hub[0] == ("own/whole", None)


def test_a_data_sets_own_splits_stand_and_what_test_asks_is_dropped_from_train(hub):
    task = read_task("hf:own/parts:easy")
    assert [example.input for example in task.split("train")] == [row["input"] for row in ROWS[:25]]
    assert [example.input for example in task.split("test")] == [row["input"] for row in ROWS[25:]]
    assert task.num_overlapping == 5
    assert set(hub) == {("own/parts", "easy")}


def test_splits_of_other_names_can_be_chosen(hub):
    task = read_task({"train": "hf:own/odd#first", "test": "hf:own/odd#second"})
    assert {name: len(examples) for name, examples in task.splits.items()} == {"train": 25, "test": 15}


def test_one_named_split_is_split_by_content(hub):
    assert read_task("hf:own/odd#first").num_examples == 30


def test_a_folder_of_json_lines_is_a_data_set_too(write_rows, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(datasets.utils.logging, "is_progress_bar_enabled", lambda: False)
    folder = write_rows(ROWS, "mine/train.jsonl").parent
    task = read_task(f"hf:{folder}")
    assert task.name == "mine"
    assert task.num_examples == 40


def test_an_unknown_data_set_or_split_is_refused_by_name(hub):
    with pytest.raises(
        DataError, match=r"data set 'hf:own/none' cannot be loaded: own/none is not on the hub"
    ):
        read_task("hf:own/none")
    with pytest.raises(DataError, match=r"'hf:own/odd#third' has no split 'third', only first, second"):
        open_hub_split("hf:own/odd#third")
    with pytest.raises(DataError, match=r"must have a split among .*, found first, second: map its splits"):
        list_hub_splits("hf:own/odd")
    with pytest.raises(ValueError, match=r"must name one split, as 'hf:own/odd#train'"):
        open_hub_split("hf:own/odd")


def test_a_bad_row_is_named_by_split_and_number(hub):
    with pytest.raises(DataError, match=r"'hf:own/whole#train', row 1: field 'choices'"):
        read_task("hf:own/whole", format="labelled-choices")


@pytest.mark.parametrize("text", ["hf:", "hf::easy", "hf:own/data:", "hf:own/data#"])
def test_an_id_with_an_empty_part_is_refused(text):
    with pytest.raises(ValueError, match="must be hf:owner/name"):
        parse_hub_id(text)


def test_a_local_folder_runs_nothing(tmp_path, monkeypatch):
    """Guards against a downloaded data set whose loading script runs."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "data"
    folder.mkdir()
    script = f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()"
    for name in ("data.py", "__init__.py", "dataset.py"):
        (folder / name).write_text(script)
    (folder / "train.jsonl").write_text('{"input": "a", "target": "b"}\n')
    with pytest.raises(DataError, match=r"data set 'hf:.*data' cannot be loaded: .* no longer supported"):
        read_task(f"hf:{folder}")
    (folder / "data.py").unlink()
    assert read_task(f"hf:{folder}").num_examples == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "error", [KeyError("x"), TypeError("\x1b[2J"), ZeroDivisionError(), MemoryError("x" * 10**6)]
)
def test_whatever_a_data_set_raises_is_told_of_it(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    message = rf"data set 'hf:own/x' cannot be loaded: .*\({type(error).__name__}\)"
    with pytest.raises(DataError, match=message) as caught:
        read_task("hf:own/x")
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


def test_a_row_that_cannot_be_read_is_told_of_its_data_set(monkeypatch):
    class Rows(dict):
        def __getitem__(self, name):
            yield {"input": "a", "target": "b"}
            raise TypeError("damaged")

    monkeypatch.setattr(datasets, "load_dataset", lambda *_: Rows(train=None))
    with pytest.raises(DataError, match=r"'hf:own/x#train' cannot be loaded: damaged \(TypeError\)"):
        read_task("hf:own/x#train")
