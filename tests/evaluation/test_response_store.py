import json

import pytest

from lorary.errors import FormatError, LoraryError
from lorary.evaluation.response_store import ResponseStore
from lorary.evaluation.scoring import Scored

STORED = {"a": Scored(1.25, True), "b": " a text\n\ud800", "c": ((2, 0), (0.5, 1 / 3))}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "responses.jsonl"


def fill(path, stored=STORED):
    with ResponseStore(path) as store:
        for name, response in stored.items():
            store.add({name: response})


def test_what_was_stored_is_found_exactly(path):
    fill(path)
    with ResponseStore(path) as store:
        assert {name: store.find(name) for name in "abcd"} == {**STORED, "d": None}
        assert isinstance(store.find("a"), Scored) and not isinstance(store.find("c"), Scored)
        assert store.find(None) is None and store.num_found == 5


def test_a_kill_at_any_byte_loses_at_most_the_last_batch(path):
    fill(path)
    content = path.read_bytes()
    starts = [place + 1 for place, byte in enumerate(content) if byte == 10]
    for length in range(len(content)):
        path.write_bytes(content[:length])
        fill(path, {"e": "more"})
        whole = sum(start <= length for start in starts)
        with ResponseStore(path) as store:
            found = [store.find(name) is not None for name in "abc"]
            assert found == [whole > number for number in (1, 2, 3)]
            assert store.find("e") == "more"


def test_answers_may_be_computed_anew(path):
    fill(path)
    with ResponseStore(path, reuse=False) as store:
        assert store.find("a") is None
        store.add({"a": "new"})
    with ResponseStore(path) as store:
        assert store.find("a") == "new" and store.find("b") is None


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "7",
        "nothing",
        json.dumps({"name": "x", "answer": 7}),
        json.dumps({"name": "x", "loss": "1", "is_likeliest": True}),
        json.dumps({"name": "x", "loss": float("nan"), "is_likeliest": True}),
        json.dumps({"name": "x", "places": [1], "weights": []}),
        json.dumps({"name": "x", "places": ["a"], "weights": [1]}),
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_answer_is_refused_with_its_place(path, line):
    fill(path)
    path.write_bytes(path.read_bytes() + line.encode() + b"\n")
    with pytest.raises(
        FormatError, match=r"line 5 is not a stored answer \(.*\): delete the file, or choose"
    ):
        ResponseStore(path)


def test_another_file_is_refused_and_kept(path):
    path.parent.mkdir()
    path.write_text("my notes\n")
    with pytest.raises(FormatError, match="line 1 is not a stored answer"):
        ResponseStore(path)
    assert path.read_text() == "my notes\n"


def test_one_evaluation_writes_at_a_time(path):
    with ResponseStore(path), pytest.raises(LoraryError, match="another evaluation is writing"):
        ResponseStore(path)
