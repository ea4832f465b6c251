"""Adapters of a multimodal model's text part on a text model, and the other way round."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from lorary.assembly import load_model
from lorary.errors import IncompatibleExpert
from lorary.experts import read_peft, write_peft
from lorary.experts.copied_weights import NOTE as COPIED_WEIGHTS
from lorary.experts.copied_weights import describe_weight
from lorary.library import Library
from lorary.models import attach_experts, fold, wrap_base
from lorary.models.fit_paths import fit_paths
from lorary.models.grow import insert_expert

TARGETS = r"model\.layers\.\d+\.(self_attn\.[qv]_proj|mlp\.up_proj)|lm_head"
NAMINGS = {
    "text part inside": lambda path: path.replace("model.", "model.language_model.", 1),
    "text part outside": lambda path: f"language_model.{path}",
}
SAID = "trained on another class of model, .*language_model.* is used as '(model.layers.0|lm_head)"


@pytest.fixture(params=NAMINGS.values(), ids=NAMINGS)
def new_path(request):
    return request.param


@pytest.fixture
def expert(llama, make_expert):
    return make_expert(llama, targets=TARGETS)


def rename(expert, new_path):
    return expert.rename_modules({path: new_path(path) for path in expert.factors})


def answer(model, stack, compute_logits):
    with stack.assign(["poetry"] * 3):
        return compute_logits(model)


def test_it_answers_as_the_adapter_without_the_prefix(llama, expert, new_path, compute_logits):
    stack = attach_experts(llama, {"poetry": expert})
    expected = answer(llama, stack, compute_logits)
    stack.detach()
    with pytest.warns(UserWarning, match=SAID) as caught:
        stack = attach_experts(llama, {"poetry": rename(expert, new_path)})
    assert len(caught) == 1
    assert torch.equal(answer(llama, stack, compute_logits), expected)
    stack.detach()
    with pytest.warns(UserWarning, match=SAID):
        assert torch.equal(
            compute_logits(fold(llama, rename(expert, new_path))), compute_logits(fold(llama, expert))
        )


def test_it_is_found_in_a_multimodal_model_too(llama, expert, new_path):
    """A model whose text part lies deeper: the same layers by other paths."""

    class Part(nn.Module):
        pass

    whole = Part()
    for path, module in llama.named_modules():
        if not list(module.children()) and path:
            place, parts = whole, new_path(path).split(".")
            for part in parts[:-1]:
                if not hasattr(place, part):
                    place.add_module(part, Part())
                place = getattr(place, part)
            place.add_module(parts[-1], module)
    with pytest.warns(UserWarning, match="is used as '.*language_model"):
        fitted = fit_paths(whole, {"poetry": expert})["poetry"]
    assert list(fitted.factors) == [new_path(path) for path in expert.factors]


@pytest.mark.parametrize("router", ["arrow", "spectr"])
def test_a_library_of_such_experts_is_routed_among_as_without(
    llama, make_expert, new_path, tmp_path, compute_logits, router
):
    found = {}
    for kind, change in {"plain": str, "prefixed": new_path}.items():
        library = Library.open(tmp_path / kind, create=True)
        for seed, name in enumerate(("a", "b", "c")):
            library.add(
                replace(rename(make_expert(llama, name, seed=seed, targets=TARGETS), change), base_model="")
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=f".* and 2 more: {SAID}")
            model = load_model(wrap_base(llama), library, router=router, top_k=2)
        found[kind] = compute_logits(model.model)
        assert all("language_model" not in path for path in model.facts.expert("a").factors)
        model.detach()
    assert torch.equal(found["plain"], found["prefixed"])


def test_one_is_added_to_a_model_that_carries_experts(llama, expert, new_path, compute_logits):
    stack = attach_experts(llama, {"poetry": expert})
    expected = answer(llama, stack, compute_logits)
    with pytest.warns(UserWarning, match=SAID):
        stack = insert_expert(stack, rename(expert, new_path).rename("law"), 1)
    with stack.assign(["law"] * 3):
        torch.testing.assert_close(compute_logits(llama), expected)


def test_it_is_read_from_a_file_and_its_copied_weights_are_found(llama, expert, new_path, tmp_path):
    path = new_path("model.embed_tokens") + ".weight"
    described = {path: describe_weight(llama.model.embed_tokens.weight)}
    card = replace(expert.card, provenance={COPIED_WEIGHTS: described})
    write_peft(replace(rename(expert, new_path), card=card), tmp_path / "poetry")
    with pytest.warns(UserWarning, match=SAID):
        stack = attach_experts(llama, {"poetry": read_peft(tmp_path / "poetry")})
    stack.detach()
    with torch.no_grad():
        llama.model.embed_tokens.weight[3, 2] += 1
    with (
        pytest.warns(UserWarning, match=SAID),
        pytest.raises(IncompatibleExpert, match=r"'model\.embed_tokens\.weight'"),
    ):
        attach_experts(llama, {"poetry": read_peft(tmp_path / "poetry")})


def test_experts_that_fit_are_given_as_they_are(llama, expert):
    assert fit_paths(llama, {"poetry": expert})["poetry"] is expert


def test_a_prefix_that_leads_to_no_layer_is_refused_with_a_layer_that_there_is(llama, expert):
    alien = rename(expert, lambda path: path.replace("model.", "language_model.decoder.", 1))
    with pytest.raises(
        IncompatibleExpert,
        match=r"is not one of its linear layers.*names such as model\.layers\.0\.self_attn\.q_proj",
    ):
        attach_experts(llama, {"poetry": alien})


def test_a_prefix_that_leads_to_two_layers_is_refused(llama, expert):
    llama.model.language_model = nn.Module()
    alien = rename(expert, lambda path: f"language_model.{path}")
    # The second name of a module that a model holds twice is not listed, so it gets a copy.
    llama.model.language_model.layers = nn.ModuleList(
        [type(layer)(llama.config, index) for index, layer in enumerate(llama.model.layers)]
    )
    with pytest.raises(IncompatibleExpert, match=r"could be 'model\.layers\.0.* or 'model\.language_model"):
        attach_experts(llama, {"poetry": alien})


def test_advice_does_not_repeat_what_was_done(llama, expert):
    alien = replace(rename(expert, lambda path: f"{path}.x"), base_model="org/tiny")
    llama.config._name_or_path = llama.name_or_path = "org/tiny"
    with pytest.raises(IncompatibleExpert, match="another class or version of this base model") as caught:
        attach_experts(llama, {"poetry": alien})
    assert "its own base model" not in str(caught.value)
