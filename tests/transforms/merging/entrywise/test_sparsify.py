from dataclasses import replace

import pytest
import torch

from lorary.experts import Factors
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.sparsify import (
    drop_by_rank,
    drop_randomly,
    keep_between,
    keep_largest,
)


def apply(blocks, sparsify, expert=0):
    return torch.cat([sparsify(expert, blocks.form(expert, rows)) for rows in blocks.iterate_rows()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("density", [0.01, 0.25, 0.99, 1.0])
def test_the_largest_entries_are_kept_to_the_last_one(make_layer, dtype, density):
    blocks = LayerBlocks(make_layer(dtype=dtype))
    d = blocks.form_whole(0)
    kept = apply(blocks, keep_largest(blocks, (density,) * 3))
    assert int((kept != 0).sum()) == max(1, int(density * d.numel()))
    assert torch.equal(kept[kept != 0], d[kept != 0])
    if density < 1:
        assert d[kept == 0].abs().max() < kept[kept != 0].abs().min()


def test_entries_of_equal_size_at_the_border_are_all_kept(make_layer):
    layer = make_layer(ranks=(1,), weights=(1.0,))
    layer = replace(layer, pairs=(Factors(torch.ones(1, 12), torch.ones(20, 1)),))
    blocks = LayerBlocks(layer)
    assert apply(blocks, keep_largest(blocks, (0.1,))).all()


def test_a_band_drops_the_largest_and_the_smallest(make_layer):
    blocks = LayerBlocks(make_layer())
    d = blocks.form_whole(0)
    kept = apply(blocks, keep_between(blocks, (0.5,) * 3, (0.1,) * 3))
    assert int((kept != 0).sum()) == 120
    ordered = d.abs().flatten().sort(descending=True).values
    assert kept.abs().max() == ordered[24] and kept[kept != 0].abs().min() == ordered[143]


def test_random_entries_are_those_of_the_experts_name_and_the_path(make_layer):
    layer = make_layer()
    blocks, densities = LayerBlocks(layer), (0.5,) * 3
    first = apply(blocks, drop_randomly(layer, densities, 0, True))
    renamed = replace(layer, names=("other", *layer.names[1:]))
    elsewhere = replace(layer, path="layers.1.q")
    assert torch.equal(first, apply(blocks, drop_randomly(layer, densities, 0, True)))
    for another in (renamed, elsewhere):
        assert not torch.equal(first, apply(blocks, drop_randomly(another, densities, 0, True)))


@pytest.mark.parametrize("numel", [1, 2**18])
def test_random_numbers_do_not_depend_on_the_blocks(make_layer, monkeypatch, numel):
    layer = make_layer()
    whole = LayerBlocks(layer)
    expected = [
        apply(whole, drop_randomly(layer, (0.5,) * 3, 0, True)),
        apply(whole, drop_by_rank(layer, (0.5,) * 3, (0.2,) * 3, 0, True)),
    ]
    monkeypatch.setattr("lorary.transforms.merging.entrywise.blocks._BLOCK_NUMEL", numel)
    found = [
        apply(whole, drop_randomly(layer, (0.5,) * 3, 0, True)),
        apply(whole, drop_by_rank(layer, (0.5,) * 3, (0.2,) * 3, 0, True)),
    ]
    assert all(torch.equal(one != 0, other != 0) for one, other in zip(found, expected, strict=True))


def test_global_random_numbers_are_left_alone(make_layer):
    layer, before = make_layer(), torch.get_rng_state()
    apply(LayerBlocks(layer), drop_randomly(layer, (0.5,) * 3, 0, True))
    assert torch.equal(torch.get_rng_state(), before)
