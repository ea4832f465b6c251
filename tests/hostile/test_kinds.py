"""Hostile inputs are the same for the same seed, of every kind, and different from the good one."""

import gzip
import json
import lzma
from hashlib import sha256
from random import Random

import pytest
import torch

from tests.hostile.contents import has_values, join_tensors, read_values, split_tensors
from tests.hostile.kinds import KINDS, RESEALED, Choices
from tests.hostile.reader import Reader
from tests.hostile.seals import NO_DIGEST, find_digest, find_own_digest
from tests.hostile.surroundings import Surroundings, write_bulk
from tests.hostile.value_kinds import CannotApply
from tests.hostile.values import Raw, dump, find, list_places, put

HEADER = {
    "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "F32", "shape": [1], "data_offsets": [16, 20]},
}
VALUES = {"name": "poetry", "rank": 2, "targets": ["q", "v"], "deep": {"x": 1.5}}


@pytest.fixture(scope="module")
def bulk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bulk") / "bulk"
    write_bulk(folder, size=1 << 16)
    return folder


@pytest.fixture
def around(tmp_path, bulk):
    return Surroundings(tmp_path / "world", bulk)


@pytest.fixture
def good(tmp_path):
    """An input with a file of each kind."""
    folder = tmp_path / "good"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner/x.safetensors").write_bytes(join_tensors(json.dumps(HEADER).encode(), bytes(range(20))))
    (folder / "x.yaml").write_text("a: 1\nb: [2, 3]\n")
    (folder / "x.txt").write_text("some text\n")
    lines = "".join(json.dumps(VALUES) + "\n" for _ in range(3)).encode()
    (folder / "x.jsonl.gz").write_bytes(gzip.compress(lines))
    (folder / "x.jsonl.xz").write_bytes(lzma.compress(lines))
    torch.save({"x": torch.arange(6.0)}, folder / "x.bin")
    own = b"mine: " + NO_DIGEST
    (folder / "own.txt").write_bytes(own.replace(NO_DIGEST, find_digest(own)))
    digest = sha256((folder / "x.txt").read_bytes()).hexdigest()
    (folder / "x.json").write_text(json.dumps({**VALUES, "sha256": digest}))
    return folder


@pytest.fixture
def choices(good):
    reader = Reader(
        name="any",
        room="files",
        make=print,
        read=print,
        check=print,
        answer=print,
        sealed=("inner/*",),
        plants=("new",),
    )
    return Choices(reader, good)


def look(folder):
    """What lies in a folder, links and pipes by their kind."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        if path.is_file() and not path.is_symlink()
        else path.lstat().st_mode
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_changes_what_it_is_done_to(name, choices, around):
    changed = []
    for number in range(10):
        inputs = around.place(choices.good)
        rng = Random(number)
        path = inputs / rng.choice(choices.kinds[name])
        try:
            KINDS[name].apply(path, rng, around)
        except CannotApply:
            continue
        for helper in around.helpers:
            helper.join()
        changed.append(look(inputs) != look(choices.good))
    assert sum(changed) > len(changed) / 2 >= 1
    assert around.find_damage() == []


def test_the_same_number_is_the_same_input(choices, around):
    def make(number):
        choice, inputs = choices.make(number, 7, around)
        return choice, look(inputs)

    names = list(choices.kinds)
    quiet = [number for number, name in enumerate(names) if name not in ("vanishing", "socket", "pipe")]
    for number in quiet[:40]:
        assert make(number) == make(number)


def test_the_first_inputs_are_every_kind_once(choices):
    names = list(choices.kinds)
    chosen = [choices.choose(number, Random(number)).kind for number in range(len(names))]
    assert chosen == names
    assert set(KINDS) <= set(names)
    assert "planted pipe" in names


def test_a_resealed_file_has_its_hash_where_the_good_ones_stood(choices, around):
    assert choices.kinds["truncate" + RESEALED] == ["own.txt", "x.txt"]
    inputs = around.place(choices.good)
    (inputs / "x.txt").write_text("other")
    choices.seals.renew("x.txt", inputs)
    assert json.loads((inputs / "x.json").read_text())["sha256"] == sha256(b"other").hexdigest()


def test_a_file_that_holds_its_own_hash_is_resealed_too(choices, around):
    path = around.place(choices.good) / "own.txt"
    path.write_bytes(path.read_bytes().replace(b"mine", b"hers"))
    assert find_own_digest(path.read_bytes()) is None
    choices.seals.renew("own.txt", around.inputs)
    assert find_own_digest(path.read_bytes()) in path.read_bytes()
    assert b"hers" in path.read_bytes()


def test_the_second_step_goes_nowhere_else(choices, around):
    """Guards a bug: it wrote through a link of the first, or waited for somebody to read from a pipe."""
    num_kinds = len(choices.kinds)
    seconds = [choices.make(number, 3, around)[0].then for number in range(num_kinds, num_kinds + 400)]
    assert sum(second is not None for second in seconds) > 40
    assert around.find_damage() == []


@pytest.mark.parametrize("name", ["x.json", "x.jsonl.gz", "x.jsonl.xz", "x.yaml", "inner/x.safetensors"])
def test_values_come_out_of_a_file_and_go_back_in(good, name):
    path = good / name
    assert has_values(path)
    content = read_values(path)
    path.write_bytes(content.write([dump(line) for line in content.lines]))
    assert read_values(path).lines == content.lines


def test_a_tensor_file_keeps_its_numbers(good):
    content = (good / "inner/x.safetensors").read_bytes()
    assert join_tensors(*split_tensors(content)) == content


def test_values_are_found_and_put_by_their_places():
    places = list(list_places(VALUES))
    assert places[0] == ()
    assert ("targets", 1) in places and ("deep", "x") in places
    assert find(VALUES, ("targets", 1)) == "v"
    assert put(json.loads(json.dumps(VALUES)), ("deep", "x"), None)["deep"] == {"x": None}
    assert dump({"a": [Raw("NaN"), Raw("1e999")]}) == '{"a": [NaN, 1e999]}'


def test_damage_around_an_input_is_seen(around):
    assert around.find_damage() == []
    around.place(around.elsewhere)
    (around.inputs / "new").write_text("")
    assert around.find_damage() == []
    (around.elsewhere / "secret.txt").write_text("changed")
    (around.home / "new").write_text("")
    assert [name.rpartition("/")[2] for name in around.find_damage()] == ["secret.txt", "new"]
