"""Compress-then-Merge beside dense alternating singular vectors."""

from dataclasses import replace

import pytest
import torch

from lorary.experts import Factors
from lorary.transforms.merging.methods.core import CoreConfig, merge_core
from lorary.transforms.merging.methods.ctm import CtmConfig, merge_ctm


def dense_subspaces(d, rank, num_steps=200):
    """Alternate leading singular vectors of all matrices side by side, from those of the stack."""
    right = torch.linalg.svd(torch.cat(list(d)))[2][:rank].mT
    for _ in range(num_steps):
        left = torch.linalg.svd(torch.cat(list(d @ right), 1))[0][:, :rank]
        right = torch.linalg.svd(torch.cat(list(left.mT @ d)))[2][:rank].mT
    return left, right


def draw_alike(make_layer, shape, **settings):
    """Draw experts that differ a little, so that the subspaces are well determined."""
    layer = make_layer(shape, ranks=(3, 1, 4), **settings)
    common = make_layer(shape, ranks=(2,), seed=5).pairs[0]
    scale = 6 * torch.tensor([1.0, 0.7], dtype=torch.float64)
    pairs = [Factors(torch.cat([common.a, a]), torch.cat([scale * common.b, b], 1)) for a, b in layer.pairs]
    return replace(layer, pairs=tuple(pairs))


@pytest.mark.parametrize("shape", [(12, 12), (20, 12), (12, 20)], ids=["square", "tall", "wide"])
@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
def test_the_mean_within_the_subspaces_equals_dense_alternation(make_layer, deltas, dense, shape, beta):
    layer = draw_alike(make_layer, shape, rank=2)
    d = deltas(layer)
    norms = d.norm(dim=(1, 2), keepdim=True)
    left, right = dense_subspaces(d * (beta + (1 - beta) * norms.mean() / norms), 2)
    expected = left @ left.mT @ d.mean(0) @ right @ right.mT
    change = merge_ctm(layer, CtmConfig(inner="linear", beta=beta))
    assert len(change.a) == 2
    assert torch.linalg.matrix_rank(dense(change), rtol=1e-9) == 2
    torch.testing.assert_close(dense(change), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_ties_works_on_entries_of_the_small_matrices(make_layer, deltas, dense, dense_agree, dense_trim):
    layer = draw_alike(make_layer, (20, 12), rank=3)
    d = deltas(layer)
    norms = d.norm(dim=(1, 2), keepdim=True)
    left, right = dense_subspaces(d * norms.mean() / norms, 3)
    inside = dense_trim(left.mT @ d @ right, [0.5] * 3)
    expected = left @ dense_agree(inside, layer.weights) @ right.mT
    change = merge_ctm(layer, CtmConfig(options={"density": 0.5}))
    torch.testing.assert_close(dense(change), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("inner", ["linear", "tsv", "wudi"])
def test_with_room_for_all_directions_it_is_core(layer, dense, inner):
    wide = replace(layer, rank=30)
    expected = dense(merge_core(wide, CoreConfig(inner=inner)))
    torch.testing.assert_close(dense(merge_ctm(wide, CtmConfig(inner=inner))), expected, rtol=1e-5, atol=1e-6)


def test_experts_of_weight_zero_do_not_turn_the_subspaces(make_layer, dense):
    layer = draw_alike(make_layer, (20, 12), rank=2, weights=(1.0, 0.0, 1.0))
    fewer = replace(layer, names=layer.names[::2], pairs=layer.pairs[::2], weights=layer.weights[::2])
    config = CtmConfig(inner="task_arithmetic")
    torch.testing.assert_close(dense(merge_ctm(layer, config)), dense(merge_ctm(fewer, config)))


def test_experts_of_zeros_only_give_zeros(make_layer, dense):
    layer = make_layer()
    zeros = replace(layer, pairs=tuple(Factors(0 * a, b) for a, b in layer.pairs))
    assert not dense(merge_ctm(zeros, CtmConfig())).any()


def test_options_are_checked_all_at_once():
    with pytest.raises(
        ValueError, match=r"beta must be in \[0, 1\], found 2; num_steps must be in \[1, 100,000\]"
    ):
        CtmConfig(beta=2, num_steps=0)
    with pytest.raises(
        ValueError, match="inner must be a method that ctm can use, found 'teis': did you mean"
    ):
        CtmConfig(inner="teis")
    with pytest.raises(ValueError, match="merging by 'tsv': unknown option 'density'"):
        CtmConfig(inner="tsv", options={"density": 0.2})
