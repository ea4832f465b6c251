"""A model of a library has the experts that routers choose among; other experts are asked for."""

from pathlib import Path

import pytest
import torch

from lorary.assembly import load_model, save_model
from lorary.errors import LibraryError, UnknownExpert
from lorary.library import Library
from lorary.transforms import merge


@pytest.fixture
def library(tmp_path, experts):
    """Five experts and a merge of two."""
    library = Library.open(tmp_path / "lib", create=True)
    for expert in experts.values():
        library.add(expert)
    library.add(merge(library, "linear", names=["dates", "morse"], name="merged"))
    return library


def test_a_library_is_loaded_without_its_merges(build_tiny_base, library, experts):
    assert load_model(build_tiny_base(), library, router=None).names == tuple(sorted(experts))
    assert load_model(build_tiny_base(), library.url, router=None).names == tuple(sorted(experts))


def test_merges_are_loaded_if_asked_for_and_from_a_mapping(build_tiny_base, library, experts):
    everyone = tuple(sorted([*experts, "merged"]))
    assert load_model(build_tiny_base(), library.routed("merge"), router=None).names == everyone
    assert load_model(build_tiny_base(), dict(library), router=None).names == everyone
    controls = {"merged": library["merged"]}
    assert load_model(build_tiny_base(), library, router=None, controls=controls).controls == ("merged",)


def test_a_merge_that_was_left_out_is_named_with_its_role(build_tiny_base, library):
    model = load_model(build_tiny_base(), library, router=None)
    message = r"no expert 'merged': .* its role is 'merge': library.routed\('merge'\) includes it"
    with pytest.raises(UnknownExpert, match=message), model.assign(["merged"]):
        pass
    model.remove_expert("dates")
    with pytest.raises(UnknownExpert, match=message):
        model.generate(["a"], experts=["merged"])
    model.add_expert(library["merged"])
    assert model.generate(["a"], experts=["merged"], max_new_tokens=1)


def test_facts_of_the_experts_used_are_stored_in_the_library(build_tiny_base, library, input_ids):
    with torch.no_grad():
        first = load_model(build_tiny_base(), library, router="arrow")(input_ids=input_ids).logits
        stored = sorted((Path(library.url) / ".lorary/artifacts").rglob("*.safetensors"))
        again = load_model(build_tiny_base(), library, router="arrow")(input_ids=input_ids).logits
    assert len(stored) == 5 and torch.equal(first, again)


def test_a_saved_model_has_what_it_was_built_of(build_tiny_base, library, tmp_path):
    model = load_model(build_tiny_base(), library.routed("merge"), router="uniform")
    save_model(model, tmp_path / "model", with_base=True)
    assert load_model(tmp_path / "model").names == model.names
    assert "merged" in model.names


def test_a_library_of_merges_alone_is_refused(build_tiny_base, library, experts):
    for name in experts:
        del library[name]
    with pytest.raises(LibraryError, match=r"no experts that routers choose among, only 1 merge \(merged\)"):
        load_model(build_tiny_base(), library)
