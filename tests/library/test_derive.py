"""Artifacts are computed once, only where they are missing, and are never stale."""

import pytest
import torch

from lorary.errors import LibraryError
from lorary.experts import write_peft
from lorary.library import Library, derive


class Sums:
    """Computes sums, and remembers of which experts."""

    def __init__(self):
        self.calls = []

    def __call__(self, experts):
        self.calls.append(list(experts))
        return {
            name: {path: a.sum() + b.sum() for path, (a, b) in expert.factors.items()}
            for name, expert in experts.items()
        }


@pytest.fixture
def sums():
    return Sums()


def test_artifacts_are_what_compute_returns_from_the_store_too(library, url, make_expert, sums):
    library["a"], library["b"] = make_expert("a", 1), make_expert("b", 2)
    expected = Sums()(library)
    for opened in (library, library, Library.open(url)):
        found = opened.artifacts("sum-1", {"k": 1}, sums)
        assert list(found) == ["a", "b"]
        assert found == expected
    assert sums.calls == [["a", "b"]]


def test_only_what_is_missing_is_computed(library, make_expert, sums):
    for name in "abc":
        library[name] = make_expert(name, ord(name))
    library.artifacts("sum-1", {}, sums, ["b"])
    library.artifacts("sum-1", {}, sums)
    library["a"] = make_expert("a", 9)
    assert library.artifacts("sum-1", {}, sums) == Sums()(library)
    assert sums.calls == [["b"], ["a", "c"], ["a"]]


def test_other_parameters_or_another_algorithm_compute_again(library, make_expert, sums):
    library["a"] = make_expert("a")
    for algorithm, parameters in (("sum-1", {"k": 1}), ("sum-1", {"k": 2}), ("sum-2", {"k": 1})):
        for _ in range(2):
            library.artifacts(algorithm, parameters, sums)
    assert len(sums.calls) == 3


def test_renamed_copied_and_restored_experts_keep_their_artifacts(library, make_expert, sums):
    library["a"] = make_expert("a")
    library.artifacts("sum-1", {}, sums)
    library.rename("a", "b")
    library.copy("b", "c")
    del library["b"]
    library["d"] = make_expert("d")
    assert list(library.artifacts("sum-1", {}, sums)) == ["c", "d"]
    assert sums.calls == [["a"]]


def test_of_experts_with_the_same_weights_one_is_computed(library, make_expert, sums):
    library["a"] = make_expert("a")
    library.copy("a", "b")
    found = library.artifacts("sum-1", {}, sums)
    assert len(sums.calls) == 1 and len(sums.calls[0]) == 1
    assert found["a"] == found["b"]


def test_an_adapter_without_a_sidecar_has_artifacts_that_follow_its_weights(local, make_expert, sums):
    for seed in (1, 2):
        write_peft(make_expert("a", seed), f"{local.url}/a")
        local._storage.remove("a/expert.json")
        for _ in range(2):
            assert local.artifacts("sum-1", {}, sums) == Sums()(local)
    assert sums.calls == [["a"], ["a"]]


def test_many_experts_are_computed_in_batches_and_each_batch_is_kept(library, make_expert, sums, monkeypatch):
    monkeypatch.setattr(derive, "BATCH_SIZE", 2)
    for name in "abcde":
        library[name] = make_expert(name, ord(name))

    def stop_at_c(experts):
        if "c" in experts:
            raise KeyboardInterrupt
        return sums(experts)

    with pytest.raises(KeyboardInterrupt):
        library.artifacts("sum-1", {}, stop_at_c)
    assert library.artifacts("sum-1", {}, sums) == Sums()(library)
    assert sums.calls == [["a", "b"], ["c", "d"], ["e"]]


def test_the_order_and_choice_of_names_is_kept(library, make_expert, sums):
    for name in "abc":
        library[name] = make_expert(name, ord(name))
    assert list(library.artifacts("sum-1", {}, sums, ["c", "a"])) == ["c", "a"]
    assert library.artifacts("sum-1", {}, sums, []) == {}


def test_compute_sees_no_other_experts(library, make_expert):
    library["a"], library["b"] = make_expert("a", 1), make_expert("b", 2)

    def compute(experts):
        assert "b" not in experts and len(experts) == 1
        with pytest.raises(KeyError):
            experts["b"]
        return {"a": {"x": torch.ones(1)}}

    assert library.artifacts("one-1", {}, compute, ["a"])["a"]["x"].item() == 1


def test_compute_must_return_the_experts_it_was_given(library, make_expert):
    library["a"] = make_expert("a")
    with pytest.raises(ValueError, match=r"exactly the experts that it was given, \['a'\], found \['b'\]"):
        library.artifacts("bad-1", {}, lambda experts: {"b": {}})


def test_an_expert_replaced_meanwhile_never_gets_the_other_ones_artifact(library, make_expert, sums):
    library["a"] = make_expert("a", 1)

    def replace(experts):
        found = sums(experts)
        library["a"] = make_expert("a", 2)
        return found

    with pytest.raises(LibraryError, match="expert 'a' was replaced while an artifact of it was computed"):
        library.artifacts("sum-1", {}, replace)
    assert library.artifacts("sum-1", {}, sums) == Sums()(library)


def test_asking_which_experts_miss_theirs_reads_none(library, make_expert, monkeypatch):
    """Guards against finding out by reading each expert, which took as long as all the rest."""
    library["a"] = make_expert("a")
    with monkeypatch.context() as patch:
        patch.setattr(Library, "__getitem__", lambda *arguments: pytest.fail("an expert was read"))
        selection = derive.Selection(library, ["a"])
        assert "a" in selection and "b" not in selection and list(selection) == ["a"]
