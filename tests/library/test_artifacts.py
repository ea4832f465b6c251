"""Artifacts are found by what they were computed from, and by nothing else."""

import errno
import os

import pytest
import torch

from lorary.errors import LibraryError
from lorary.library.artifacts import ArtifactStore, artifact_key, canonical_json

HASH = "0" * 64
OTHER = "1" * 64


@pytest.fixture
def open_store(library):
    def open_one(algorithm="sum-1", parameters=None):
        return ArtifactStore(library._storage, library._publisher, algorithm, parameters or {})

    return open_one


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


def test_keys_differ_by_weights_algorithm_and_parameters_and_not_by_their_order():
    keys = [
        artifact_key(HASH, "a", {"x": 1, "y": 2}),
        artifact_key(OTHER, "a", {"x": 1, "y": 2}),
        artifact_key(HASH, "b", {"x": 1, "y": 2}),
        artifact_key(HASH, "a", {"x": 1, "y": 3}),
        artifact_key(HASH, "a", {"x": 1}),
    ]
    assert len(set(keys)) == len(keys)
    assert artifact_key(HASH, "a", {"y": 2, "x": 1}) == keys[0]


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
    with pytest.raises(TypeError, match=r"parameters must hold only what JSON can .*device"):
        open_store(parameters={"device": torch.device("cpu")})
    with pytest.raises(TypeError, match="parameters must hold only what JSON can"):
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
    with pytest.raises(LibraryError, match=r"cannot store 'sum-1' of 1 experts in library .*no space left"):
        open_store().save({HASH: {"x": torch.ones(1)}})
