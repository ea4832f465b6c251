"""Experts trained on top of a general expert equal those trained on a base model with it folded in."""

from dataclasses import replace

import pytest
import torch

from lorary.errors import IncompatibleExpert, TrainingError
from lorary.experts import hash_weights
from lorary.models import fold, wrap_base
from lorary.training import MoeConfig, train_experts, train_moe


@pytest.fixture
def general(base, make_expert):
    return make_expert(base.model, "common", 3)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "phi"])
def test_an_expert_on_top_equals_one_on_the_folded_base_model(
    build_base, make_expert, examples, make_config, assert_same_factors, tmp_path, family
):
    base = build_base(family)
    general = make_expert(base.model, "common", 3).with_base(base.name)
    folded = wrap_base(fold(base.model, general), base.tokenizer, name="folded")
    config = make_config(validate_every=2)
    found = train_experts(base, examples, config, tmp_path / "on-top", on_top_of=general)
    wanted = train_experts(folded, examples, config, tmp_path / "folded")
    for name in examples:
        assert_same_factors(found.experts[name].factors, wanted.experts[name].factors)
        torch.testing.assert_close(*(torch.tensor(run.progress[name].train_curve) for run in (found, wanted)))


def test_the_base_model_is_left_as_it_was_and_cards_have_the_hash(
    base, general, examples, make_config, is_plain, tmp_path
):
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    outcome = train_experts(base, examples, make_config(), tmp_path, on_top_of=general)
    is_plain(base.model)
    assert not any(module._forward_hooks for module in base.model.modules())
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
    for expert in outcome.experts.values():
        assert expert.card.on_top_of == hash_weights(general)
        assert expert.card.provenance["general"] == "common"


def test_an_interrupted_run_goes_on_to_the_same_bits(base, general, examples, make_config, tmp_path):
    config = make_config(num_slots=2, checkpoint_seconds=0.0)
    whole = train_experts(base, examples, config, tmp_path / "whole", on_top_of=general)
    calls = []

    def interrupt(event):
        calls.append(event)
        if len(calls) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_experts(base, examples, config, tmp_path / "cut", on_top_of=general, on_progress=interrupt)
    assert not any(module._forward_hooks for module in base.model.modules())
    resumed = train_experts(base, examples, config, tmp_path / "cut", on_top_of=general)
    for name, expert in whole.experts.items():
        for path, pair in expert.factors.items():
            assert torch.equal(pair.a, resumed.experts[name].factors[path].a)
            assert torch.equal(pair.b, resumed.experts[name].factors[path].b)


def test_a_run_on_top_of_another_expert_is_another_run(
    base, general, make_expert, examples, make_config, tmp_path
):
    train_experts(base, examples, make_config(), tmp_path, on_top_of=general)
    for other in (None, make_expert(base.model, "other", 4)):
        with pytest.raises(TrainingError, match=r"another run, which differs in .*general expert"):
            train_experts(base, examples, make_config(), tmp_path, on_top_of=other)


def test_starts_must_stand_on_it_too(base, general, make_expert, examples, make_config, tmp_path):
    plain = make_expert(base.model, "plain", 5)
    standing = replace(plain, card=replace(plain.card, on_top_of=hash_weights(general)))
    with pytest.raises(IncompatibleExpert, match="'plain' cannot be a start: it does not build on 'common'"):
        train_experts(base, examples, make_config(), tmp_path, starts={"alpha": plain}, on_top_of=general)
    with pytest.raises(IncompatibleExpert, match="it builds on a general expert, but the training has none"):
        train_experts(base, examples, make_config(), tmp_path, starts={"alpha": standing})
    config = make_config(max_steps=0)
    outcome = train_experts(base, examples, config, tmp_path, starts={"alpha": standing}, on_top_of=general)
    assert outcome.experts["alpha"].card.on_top_of == hash_weights(general)


def test_what_nothing_can_stand_on_is_refused(base, general, examples, make_config, tmp_path):
    on_top = replace(general, card=replace(general.card, on_top_of="0" * 64))
    with pytest.raises(
        IncompatibleExpert, match=r"must be complete by itself, but 'common' builds on another"
    ):
        train_experts(base, examples, make_config(), tmp_path, on_top_of=on_top)


def test_a_trained_router_of_experts_on_top_equals_one_on_the_folded_base_model(
    base, general, experts, examples, make_config, tmp_path
):
    weights = hash_weights(general)
    standing = {
        name: replace(each, card=replace(each.card, on_top_of=weights)) for name, each in experts.items()
    }
    folded = wrap_base(fold(base.model, general), base.tokenizer, name=base.name)
    config = MoeConfig(train=make_config(max_steps=2), warm_start="none")
    found = train_moe(base, standing, examples, config, tmp_path / "on-top", general=general)
    wanted = train_moe(folded, experts, examples, config, tmp_path / "folded")
    for path, rows in wanted.router.layers.items():
        torch.testing.assert_close(found.router.layers[path], rows, atol=1e-3, rtol=1e-3)
    assert all(each.card.on_top_of == weights for each in found.experts.values())
    with pytest.raises(IncompatibleExpert, match="cannot be used: it builds on a general expert"):
        train_moe(base, standing, examples, config, tmp_path / "none")
