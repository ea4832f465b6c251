"""Artifacts of experts that are gone are removed, and no other."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from lorary.errors import LibraryError
from lorary.experts import write_peft
from lorary.library.artifacts import ARTIFACTS


@pytest.fixture
def derive(library):
    """Derive artifacts of all experts; returns the names of those that were computed."""

    def run(algorithm="norm-1"):
        computed = []

        def compute(experts):
            computed.extend(experts)
            return {name: {"x": torch.ones(3)} for name in experts}

        library.artifacts(algorithm, {}, compute)
        return computed

    return run


def test_what_was_computed_from_experts_that_are_gone_is_removed(library, make_expert, derive):
    for seed, name in enumerate("abc"):
        library[name] = make_expert(name, seed)
    for algorithm in ("norm-1", "norm-2"):
        assert derive(algorithm) == ["a", "b", "c"]
    assert library.prune() == (0, 6, 0)
    files = {path: library._storage.count_bytes(path) for path in library._storage.walk(ARTIFACTS)}
    del library["a"]
    library["b"] = make_expert("b", 9)
    pruned = library.prune()
    left = library._storage.walk(ARTIFACTS)
    assert pruned == (4, 2, sum(size for path, size in files.items() if path not in left))
    assert derive() == ["b"]
    assert library.verify() == []


def test_what_was_computed_from_several_goes_with_the_first_of_them(library, make_expert):
    for seed, name in enumerate("abc"):
        library[name] = make_expert(name, seed)
    pairs = [library.artifacts.make_key("pair-1", {}, names) for names in ("ab", "bc", "ac")]
    library.artifacts.save_all({key: {"x": torch.ones(2)} for key in pairs})
    del library["a"]
    assert library.prune()[:2] == (2, 1)
    assert [library.artifacts.load(key) is None for key in pairs] == [True, False, True]


def test_copies_and_renamed_experts_keep_theirs(library, make_expert, derive):
    library["a"] = make_expert("a")
    derive()
    library.copy("a", "b")
    del library["a"]
    library.rename("b", "c")
    assert library.prune() == (0, 1, 0)
    assert derive() == []


def test_an_adapter_without_a_sidecar_keeps_its_artifacts(local, make_expert):
    write_peft(make_expert("a"), f"{local.url}/a")
    local._storage.remove("a/expert.json")
    local.artifacts("norm-1", {}, lambda experts: {"a": {"x": torch.ones(1)}})
    assert local.prune().num_kept == 1


def test_a_library_without_experts_or_artifacts_has_nothing_to_remove(library):
    assert library.prune() == (0, 0, 0)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 8, b"x" * 99, save({"x": torch.ones(1)}), save({"x": torch.ones(1)}, {"source": "[]"})],
)
def test_a_damaged_artifact_is_removed(library, make_expert, derive, content):
    library["a"] = make_expert("a")
    derive()
    [path] = library._storage.walk(ARTIFACTS)
    library._storage.write(path, content)
    assert library.prune() == (1, 0, len(content))
    assert derive() == ["a"]


def test_where_nobody_may_write_nothing_is_removed(local, make_expert, monkeypatch):
    local["a"] = make_expert("a")
    local.artifacts("norm-1", {}, lambda experts: {"a": {"x": torch.ones(1)}})
    del local["a"]

    def remove(path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(local._storage, "remove", remove)
        with pytest.raises(LibraryError, match=r"cannot remove artifacts in library .*not allowed to write"):
            local.prune()
    assert list(Path(local.url, ARTIFACTS).rglob("*.safetensors"))
