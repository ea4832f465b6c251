"""Experts that name another base model, taken by hand; shapes are always checked."""

from dataclasses import replace

import pytest
import torch

from lorary.assembly import load_model, save_model
from lorary.errors import IncompatibleExpert
from lorary.experts import Factors, read_peft, write_peft
from lorary.library import Library
from lorary.models import save_folded

TOLD = r"'dates' was trained on 'org/other'.* \(and 4 more experts of another base model\): accepted"


@pytest.fixture
def strangers(experts):
    """The experts, for another base model as they say."""
    return {name: expert.with_base("org/other") for name, expert in experts.items()}


def answer(model, input_ids):
    with torch.no_grad():
        return model(input_ids=input_ids).logits


def test_a_trusted_base_takes_experts_as_if_they_named_it(build_tiny_base, experts, strangers, input_ids):
    with pytest.raises(IncompatibleExpert, match="trust_base=True"):
        load_model(build_tiny_base(), strangers, router="arrow")
    with pytest.warns(UserWarning, match=TOLD) as told:
        model = load_model(build_tiny_base(), strangers, router="arrow", trust_base=True)
    assert len(told) == 1
    expected = load_model(build_tiny_base(), experts, router="arrow")
    assert torch.equal(answer(model, input_ids), answer(expected, input_ids))


def test_another_fingerprint_is_overridden_too(base, experts):
    other = {name: expert.with_base(base.name, fingerprint="0" * 16) for name, expert in experts.items()}
    with pytest.warns(UserWarning, match=r"fingerprint 0000000000000000, not .*accepted"):
        load_model(base, other, router=None, trust_base=True)


def test_shapes_are_checked_all_the_same(base, strangers):
    path, pair = next(iter(strangers["dates"].factors.items()))
    wide = Factors(torch.zeros(1, pair.a.shape[1] + 1), torch.zeros(pair.b.shape[0], 1))
    strangers["dates"] = replace(strangers["dates"], factors={path: wide})
    with pytest.warns(UserWarning, match=TOLD), pytest.raises(IncompatibleExpert, match="does not fit this"):
        load_model(base, strangers, router=None, trust_base=True)


def test_a_saved_model_is_trusted_as_it_was_built(base, strangers, build_tiny_base, input_ids, tmp_path):
    with pytest.warns(UserWarning, match=TOLD):
        model = load_model(base, strangers, router="arrow", trust_base=True)
    expected = answer(model, input_ids)
    save_model(model, tmp_path / "model", with_base=True)
    torch.testing.assert_close(answer(load_model(tmp_path / "model"), input_ids), expected)


def test_an_expert_is_added_to_a_trusted_base(model, draw_expert, base):
    late = draw_expert(base, "late").with_base("org/other")
    with pytest.raises(IncompatibleExpert, match="trust_base=True"):
        model.add_expert(late)
    with pytest.warns(UserWarning, match="'late' was trained on 'org/other'.*accepted"):
        model.add_expert(late, trust_base=True)
    assert model.names[-1] == "late"


def test_a_trusted_base_is_folded(base, strangers, tmp_path):
    with pytest.raises(IncompatibleExpert, match="trust_base=True"):
        save_folded(base, strangers["dates"], tmp_path / "folded")
    with pytest.warns(UserWarning, match="accepted"):
        save_folded(base, strangers["dates"], tmp_path / "folded", trust_base=True)
    assert (tmp_path / "folded" / "config.json").exists()


def test_a_base_model_given_by_hand_replaces_what_an_adapter_says(base, experts, tmp_path):
    other = experts["dates"].with_base("org/other", revision="v1", fingerprint="0" * 16)
    write_peft(other, tmp_path / "dates")
    expert = read_peft(tmp_path / "dates", base_model=base.name)
    card = expert.card
    assert (expert.base_model, card.base_revision, card.base_fingerprint) == (base.name, None, None)
    library = Library.open(str(tmp_path / "library"), create=True)
    library.add(expert)
    assert library.entries(base=base.name)[0].name == "dates"
    load_model(base, library, router=None)
