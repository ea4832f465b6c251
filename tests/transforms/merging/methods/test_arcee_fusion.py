from dataclasses import replace

import pytest
import torch

from lorary.experts import Factors
from lorary.transforms.merging.methods.arcee_fusion import ArceeFusionConfig, merge_arcee_fusion


def dense_fusion(d):
    first, second = d
    p, q = second.softmax(-1) + 1e-8, first.softmax(-1) + 1e-8
    importance = (second - first).abs() * (p * (p / q).log()).sum(-1, keepdim=True)
    ordered = importance.flatten().sort().values
    low, median, high = (ordered[int(q * (len(ordered) - 1))] for q in (0.25, 0.5, 0.75))
    return first + (second - first) * (importance >= median + 1.5 * (high - low))


@pytest.mark.parametrize("shape", [(12, 12), (20, 12), (12, 20)])
def test_the_merge_equals_the_dense_one(make_layer, deltas, shape):
    layer = make_layer(shape, ranks=(3, 4))
    merged = merge_arcee_fusion(layer, ArceeFusionConfig())
    torch.testing.assert_close(merged, dense_fusion(deltas(layer)))
    assert not torch.equal(merged, deltas(layer)[0]) and not torch.equal(merged, deltas(layer)[1])


def test_small_blocks_give_the_same_merge(make_layer, monkeypatch):
    layer = make_layer(ranks=(3, 4))
    whole = merge_arcee_fusion(layer, ArceeFusionConfig())
    monkeypatch.setattr("lorary.transforms.merging.entrywise.blocks._BLOCK_NUMEL", 1)
    torch.testing.assert_close(merge_arcee_fusion(layer, ArceeFusionConfig()), whole)


def test_small_changes_are_told_apart_in_float32(make_layer):
    """The divergence of two nearly equal rows is below the rounding of float32."""
    layer = make_layer(ranks=(3, 4))
    small = [Factors(a, 1e-4 * b) for a, b in layer.pairs]
    merged = merge_arcee_fusion(replace(layer, pairs=tuple(small)), ArceeFusionConfig())
    single = replace(layer, pairs=tuple(Factors(a.float(), b.float()) for a, b in small))
    torch.testing.assert_close(
        merge_arcee_fusion(single, ArceeFusionConfig()).double(), merged, rtol=1e-4, atol=1e-9
    )
