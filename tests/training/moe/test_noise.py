"""Noise of routers in training."""

import math

import pytest
import torch

from lorary.models import attach_experts
from lorary.passes import split_passes
from lorary.passes.layout import Layout
from lorary.routing.moe.scores import score_moe, split_parameters
from lorary.training.objectives.moe import MoeExperts
from lorary.training.objectives.moe_chooser import NoiseSource
from tests.training.moe.by_hand import make_starts
from tests.training.moe.cases import make_config


@pytest.mark.parametrize("kind", ["linear", "product_keys"])
def test_gaussian_noise_is_of_trained_amounts_and_jitter_of_inputs(base, examples, experts, kind):
    """Noise of a pass is drawn again equally, and is softplus(x · u) times a normal number."""
    config = make_config(noise="gaussian", kind=kind, query_size=4)
    form = config.make_form(list(experts))
    starts = make_starts(base, form, 7)
    stack = attach_experts(base.model, experts)
    objective = MoeExperts(stack, form, starts, config)
    objective.start("moe", 0, 3)
    [part] = split_passes(examples["sql"].train, [0] * 6, Layout.PACKED, tokens_per_pass=400, row_length=64)
    path, layer = next(iter(stack.layers.items()))
    x = torch.randn(9, layer.a.shape[2], generator=torch.Generator().manual_seed(1))
    rows = torch.zeros(9, dtype=torch.long)
    plain = objective.make_chooser(part)
    noisy = objective.make_chooser(part, NoiseSource(3, None))
    scores = score_moe(form, split_parameters(form, plain.parameters[path], x.shape[1]), x)
    shaken = noisy._add_noise(path, scores, x)
    for name in ("experts", "first", "second"):
        if getattr(scores, name) is not None:
            difference = (getattr(shaken, name) - getattr(scores, name)).detach()
            assert difference.abs().max() > 0.3  # amounts start at softplus(0)
            assert difference.std() == pytest.approx(math.log(2), rel=0.5)
    again = objective.make_chooser(part, NoiseSource(3, None)).choose(path, x, rows)
    assert torch.equal(noisy.choose(path, x, rows).weights, again.weights)
    jitter = objective.make_chooser(part, NoiseSource(3, 0.2))
    ratio = jitter._shake(path, x) / x
    assert 0.8 <= float(ratio.min()) < 0.9 and 1.1 < float(ratio.max()) <= 1.2
    stack.detach()
