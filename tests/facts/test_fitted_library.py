"""Facts about experts that were renamed to the paths of a model are in the library all the same."""

import warnings
from pathlib import Path

import pytest
import torch

from lorary.assembly import load_model, save_model
from lorary.errors import LibraryError
from lorary.facts import calibrations, prototypes
from lorary.library import Library


@pytest.fixture
def others(tmp_path, experts):
    """A library of the experts as a multimodal class names their modules."""
    library = Library.open(str(tmp_path / "others"), create=True)
    for expert in experts.values():
        library.add(expert.rename_modules({path: f"language_model.{path}" for path in expert.factors}))
    return library


@pytest.fixture
def load(build_tiny_base):
    def load(library, router, seed=0):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*trained on another class of model")
            return load_model(build_tiny_base(seed), library, router=router)

    return load


@pytest.fixture
def computed(monkeypatch):
    """The experts of each computation, in the order of computing."""
    found = []
    for fact in (prototypes.PROTOTYPES, calibrations.CALIBRATIONS):
        compute = fact.compute

        def note(context, names, compute=compute):
            found.append(sorted(names))
            return compute(context, names)

        monkeypatch.setitem(vars(fact), "compute", note)
    return found


def answer(model, input_ids):
    with torch.no_grad():
        return model(input_ids=input_ids).logits


@pytest.mark.parametrize("router", ["arrow", "calibrated"])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_facts_are_stored_in_the_library_and_found_there(
    load, library, others, experts, computed, router, is_mixed, cache, input_ids
):
    """They went to the cache folder, so that every machine computed them once more."""
    if is_mixed:
        others["dates"] = experts["dates"]
    expected = answer(load(library, router), input_ids)
    computed.clear()
    first = load(others, router)
    assert torch.equal(answer(first, input_ids), expected)
    assert computed == [sorted(others)]
    assert torch.equal(answer(load(others, router), input_ids), expected)
    assert len(computed) == 1 and others.verify() == []
    stored = [path.name for path in cache.glob("artifacts/*")]
    assert not {prototypes.PROTOTYPES.algorithm, calibrations.CALIBRATIONS.algorithm} & set(stored)


def test_facts_by_the_paths_of_the_files_are_others(others, computed, load):
    """A library keeps the prototypes of both classes of model."""
    own = prototypes.find_prototypes(others)
    load(others, "arrow")
    assert computed == [sorted(others)] and all("language_model" in path for path in own)
    assert prototypes.find_prototypes(others).keys() == own.keys()
    load(others, "arrow")
    assert len(computed) == 1


def test_an_expert_that_was_replaced_since_is_refused(others, load, experts):
    model = load(others, "uniform")
    others["morse"] = experts["prices"]
    with pytest.raises(
        LibraryError, match="'morse' in the library is not the one this model was loaded with"
    ):
        model.set_router("arrow")


def test_a_saved_model_has_the_facts(others, load, computed, tmp_path, input_ids):
    model = load(others, "arrow")
    expected = answer(model, input_ids)
    save_model(model, tmp_path / "model", with_base=True)
    computed.clear()
    torch.testing.assert_close(answer(load_model(Path(tmp_path, "model")), input_ids), expected)
    assert computed == []
