"""Artifacts are found by what they were computed from, and by nothing else."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from lorary.errors import LibraryError, UnknownExpert
from lorary.library.artifact_file import canonical_json, pack_artifact, unpack_artifact
from lorary.library.artifacts import ARTIFACTS, find_artifact_fault
from lorary.library.key import Key

HASH = "0" * 64
OTHER = "1" * 64


class Store:
    """The artifacts of one algorithm and its parameters, by their one subject."""

    def __init__(self, library, algorithm, parameters):
        self.artifacts = library.artifacts
        self.make_key = lambda subject: Key(algorithm, parameters, (subject,))
        self.make_key(HASH)

    def save(self, artifacts):
        self.artifacts.save_all({self.make_key(subject): tensors for subject, tensors in artifacts.items()})

    def load(self, subject):
        return self.artifacts.load(self.make_key(subject))


@pytest.fixture
def open_store(library):
    return lambda algorithm="sum-1", parameters=None: Store(library, algorithm, parameters or {})


def test_an_artifact_comes_back_equal_bit_for_bit(open_store):
    artifact = {
        "layers.0": torch.randn(3, 5).to(torch.bfloat16),
        "slice": torch.arange(12).reshape(3, 4)[:, 1:3],
        "scalar": torch.tensor(2.5),
    }
    open_store().save({HASH: artifact})
    found = open_store().load(HASH)
    assert found.keys() == artifact.keys()
    assert all(torch.equal(found[name], artifact[name]) for name in artifact)
    assert found["layers.0"].dtype == torch.bfloat16


def test_tensors_that_share_memory_can_be_stored(open_store):
    stack = torch.randn(4, 3)
    open_store().save({HASH: {"first": stack[0], "all": stack}, OTHER: {"second": stack[1]}})
    assert torch.equal(open_store().load(HASH)["all"], stack)
    assert torch.equal(open_store().load(OTHER)["second"], stack[1])


def test_a_missing_artifact_is_none(open_store):
    open_store(parameters={"k": 1}).save({HASH: {"x": torch.ones(1)}})
    assert open_store(parameters={"k": 2}).load(HASH) is None
    assert open_store("other").load(HASH) is None
    assert open_store(parameters={"k": 1}).load(OTHER) is None
    assert open_store(parameters={"k": 1}).load(HASH) is not None


@pytest.mark.parametrize("damaged", ["cut", "empty", "other"])
def test_a_damaged_artifact_counts_as_missing_and_can_be_replaced(open_store, library, damaged):
    store = open_store()
    store.save({HASH: {"x": torch.ones(3)}})
    [path] = library._storage.walk(".lorary/artifacts")
    content = library._storage.read(path)
    library._storage.write(path, {"cut": content[:-1], "empty": b"", "other": b"x" * 99}[damaged])
    assert store.load(HASH) is None
    store.save({HASH: {"x": torch.ones(3)}})
    assert library._storage.read(path) == content


def test_parameters_that_json_cannot_hold_are_refused(open_store):
    with pytest.raises(TypeError, match=r"parameters must be JSON values .*device"):
        open_store(parameters={"device": torch.device("cpu")})
    with pytest.raises(TypeError, match="parameters must be JSON values"):
        canonical_json({"x": float("nan")})
    with pytest.raises(ValueError, match="name must not"):
        open_store("../outside")


def test_where_nobody_may_write_nothing_is_stored_but_a_full_disk_is_an_error(
    open_store, monkeypatch, library
):
    def refuse(code):
        def write(*arguments):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(library._storage, "write_many", write)

    refuse(errno.EROFS)
    open_store().save({HASH: {"x": torch.ones(1)}})
    assert open_store().load(HASH) is None
    refuse(errno.ENOSPC)
    with pytest.raises(LibraryError, match=r"cannot store 'sum-1' of 1 expert in library .*no space left"):
        open_store().save({HASH: {"x": torch.ones(1)}})


def spoil_number(content):
    return content[:-4] + torch.tensor(2.0).numpy().tobytes()


def spoil_name(content):
    return content.replace(b'"x":{', b'"y":{', 1)


SPOILT = {
    "a number": spoil_number,
    "NaN": lambda content: content[:-4] + torch.tensor(torch.nan).numpy().tobytes(),
    "zeros": lambda content: content[:-12] + bytes(12),
    "a name": spoil_name,
    "no source": lambda content: save({"x": torch.ones(3)}),
    "another source": lambda content: save({"x": torch.ones(3)}, {"source": '{"weights": "1"}'}),
    "a source that is none": lambda content: save({"x": torch.ones(3)}, {"source": "[1]"}),
    "the hash of another": lambda content: content.replace(content[30:90], b"0" * 60),
    "a header without end": lambda content: b"\xff" * 8 + content[8:],
    "a deep header": lambda content: (9000).to_bytes(8, "little") + b"[" * 9000,
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_an_artifact_that_is_not_what_was_stored_counts_as_missing(open_store, library, spoilt):
    open_store().save({HASH: {"x": torch.ones(3)}})
    [path] = library._storage.walk(ARTIFACTS)
    assert find_artifact_fault(library._storage, path) is None
    library._storage.write(path, SPOILT[spoilt](library._storage.read(path)))
    assert open_store().load(HASH) is None
    assert find_artifact_fault(library._storage, path)


def test_an_artifact_in_the_place_of_another_counts_as_missing(open_store, library):
    open_store().save({HASH: {"x": torch.ones(3)}, OTHER: {"x": torch.zeros(3)}})
    one, other = library._storage.walk(ARTIFACTS)
    library._storage.write(one, library._storage.read(other))
    assert [open_store().load(digest) for digest in (HASH, OTHER)].count(None) == 1
    assert find_artifact_fault(library._storage, one).startswith(
        "is at the place of an artifact with another source"
    )
    assert find_artifact_fault(library._storage, other) is None


def test_an_artifact_of_numbers_that_are_not_finite_is_computed_again(open_store):
    for values in (torch.tensor([1.0, torch.inf]), torch.tensor([torch.nan]).bfloat16()):
        open_store().save({HASH: {"x": values, "whole": torch.arange(3), "none": torch.ones(0)}})
        assert open_store().load(HASH) is None


def test_an_artifact_that_an_older_lorary_stored_without_a_hash_is_read(open_store, library):
    store = open_store(parameters={"k": 1})
    store.save({HASH: {"x": torch.ones(3)}})
    [path] = library._storage.walk(ARTIFACTS)
    source = canonical_json({"weights": HASH, "algorithm": "sum-1", "parameters": {"k": 1}})
    library._storage.write(path, save({"x": torch.full((3,), 7.0)}, {"source": source}))
    assert store.load(HASH)["x"].tolist() == [7, 7, 7]
    assert find_artifact_fault(library._storage, path) is None


def test_the_same_artifact_is_stored_as_the_same_bytes_whatever_its_parameters_hold():
    source = {"weights": HASH, "algorithm": "a", "parameters": {"_sha256": "0" * 64, "text": '"_sha256":"'}}
    content = pack_artifact({"x": torch.ones(2), "y": torch.zeros(3)}, source)
    assert pack_artifact({"y": torch.zeros(3), "x": torch.ones(2)}, source) == content
    artifact, found = unpack_artifact(content)
    assert found == source and artifact["x"].tolist() == [1, 1]


def test_an_artifact_beyond_the_limit_counts_as_missing(local, make_expert, monkeypatch):
    """Guards a bomb: gigabytes were read before anything looked at them."""
    local.add(make_expert("a"))
    calls = []

    def compute(experts):
        calls.extend(experts)
        return {name: {"x": torch.ones(4)} for name in experts}

    local.artifacts("ones-1", {}, compute)
    monkeypatch.setenv("LORARY_MAX_ARTIFACT_MB", "0.00001")
    local.artifacts("ones-1", {}, compute)
    assert calls == ["a", "a"]
    assert any("is too large" in str(problem) for problem in local.verify())


def sum_all(experts):
    return {
        name: {"x": sum(pair.b.sum() for pair in expert.factors.values())} for name, expert in experts.items()
    }


def test_several_experts_together_have_an_artifact_of_their_own(library, make_expert):
    for seed, name in enumerate("abc"):
        library[name] = make_expert(name, seed)
    key = library.artifacts.make_key("centroids-1", {"count": 2}, ["b", "a"])
    assert library.artifacts.load(key) is None
    library.artifacts.save(key, {"rows": torch.eye(2)})
    reopened = type(library).open(library.url)
    assert torch.equal(reopened.artifacts.load(key)["rows"], torch.eye(2))
    for others in (["a", "b"], ["a"], ["a", "b", "c"]):
        other = library.artifacts.make_key("centroids-1", {"count": 2}, others)
        assert other != key and library.artifacts.load(other) is None
    library.rename("a", "z")
    assert library.artifacts.make_key("centroids-1", {"count": 2}, ["b", "z"]) == key
    assert library.verify() == []


def test_what_was_computed_from_an_expert_that_was_replaced_meanwhile_is_nobodys(library, make_expert):
    library["a"] = make_expert("a", 1)
    key = library.artifacts.make_key("sum-1", {}, ["a"])
    library["a"] = make_expert("a", 2)
    library.artifacts.save(key, {"x": torch.ones(1)})
    assert library.artifacts.load(library.artifacts.make_key("sum-1", {}, ["a"])) is None


def test_names_and_subjects_that_are_none_are_refused(library):
    with pytest.raises(UnknownExpert, match="no expert 'a'"):
        library.artifacts.make_key("sum-1", {}, ["a"])
    with pytest.raises(ValueError, match="an artifact of 'sum-1' must have a subject, found none"):
        library.artifacts.make_key("sum-1", {}, [])


@pytest.mark.parametrize("sidecar", ["none", "without the configuration's hash"])
def test_an_edited_scale_has_artifacts_of_its_own(local, make_expert, sidecar):
    """Guards a bug: an adapter whose lora_alpha was edited by hand kept the artifacts of the old scale."""
    local["a"] = make_expert("a")
    folder = Path(local.url, "a")
    if sidecar == "none":
        (folder / "expert.json").unlink()
    else:
        known = json.loads((folder / "expert.json").read_text())
        (folder / "expert.json").write_text(json.dumps({**known, "config_sha256": None}))
    before = local.artifacts("sum-1", {}, sum_all)["a"]["x"]
    assert local.artifacts("sum-1", {}, lambda batch: pytest.fail("computed again"))["a"]["x"] == before
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(
        json.dumps({**config, "lora_alpha": 4 * config["lora_alpha"]})
    )
    assert local.artifacts("sum-1", {}, sum_all)["a"]["x"] == sum_all(local)["a"]["x"] != before
    assert local.prune()[:2] == (1, 1)


def test_an_artifact_of_an_earlier_version_is_found(local, make_expert):
    """The file's name and bytes are those that lorary 0.1 wrote."""
    local["a"] = make_expert("a")
    weights = local.weight_hashes()["a"]
    source = f'{{"algorithm":"sum-1","parameters":{{"k":1}},"weights":"{weights}"}}'
    name = hashlib.sha256(source.encode()).hexdigest()
    sealed = f'{{"_sha256":"{"0" * 64}",{source[1:]}'
    blank = save({"x": torch.ones(3)}, {"source": sealed})
    content = blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode(), 1)
    path = f"{ARTIFACTS}/sum-1/{name}.safetensors"
    Path(local.url, path).parent.mkdir(parents=True)
    local._storage.write(path, content)
    found = local.artifacts("sum-1", {"k": 1}, lambda batch: pytest.fail("computed again"))
    assert found["a"]["x"].tolist() == [1, 1, 1]
    local.artifacts("sum-1", {"k": 1}, lambda batch: {"a": {"x": torch.ones(3)}}, None, lambda *_: False)
    assert local._storage.read(path) == content
    assert local.verify() == [] and local.prune() == (0, 1, 0)
