from dataclasses import asdict, replace

import pytest
import torch

from lorary.training import MoeConfig, SkillConfig, train_experts
from lorary.training.config import gives_the_same, list_effective


def test_dropout_changes_an_expert_and_neither_passes_nor_others_change_the_draw(
    base, make_examples, make_config, tmp_path, assert_same_factors
):
    examples = {"one": make_examples(1), "two": make_examples(2)}
    config = make_config(dropout=0.4)
    together = train_experts(base, examples, config, tmp_path / "together").experts
    whole = train_experts(base, {"one": examples["one"]}, make_config(), tmp_path / "whole").experts
    split = replace(config, tokens_per_pass=7)
    alone = train_experts(base, {"one": examples["one"]}, split, tmp_path / "alone").experts
    assert_same_factors(together["one"].factors, alone["one"].factors)
    path = next(iter(whole["one"].factors))
    assert not torch.allclose(whole["one"].factors[path].a, alone["one"].factors[path].a)
    assert alone["one"].card.provenance["training"]["dropout"] == 0.4


def test_a_validation_has_no_dropout(base, make_examples, make_config, tmp_path):
    """With steps too small to change anything, validation losses of two draws are equal."""
    examples = {"one": make_examples(1, num_validation=4)}
    losses = []
    for name, rate in (("with", 0.5), ("without", 0.0)):
        config = make_config(dropout=rate, validate_every=1, max_steps=2, learning_rate=1e-12)
        done = train_experts(base, examples, config, tmp_path / name)
        losses.append([loss for _, loss in done.progress["one"].validation_curve])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_dropout_is_refused_where_it_would_have_no_effect(make_config):
    with pytest.raises(ValueError, match="configuration of skills: dropout is for experts only"):
        SkillConfig(train=make_config(dropout=0.1))
    with pytest.raises(ValueError, match=r"dropout is for experts only, it must be 0 here"):
        MoeConfig(train=make_config(dropout=0.1))
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), found 1"):
        make_config(dropout=1.0)


def test_settings_of_earlier_versions_are_those_without_dropout(make_config):
    config = make_config()
    earlier = {name: value for name, value in asdict(config).items() if name != "dropout"}
    assert gives_the_same(earlier, config) and "dropout" not in list_effective(config)
    assert not gives_the_same(earlier, make_config(dropout=0.1))
