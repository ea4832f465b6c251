import pytest
import torch

from lorary.transforms.merging.entrywise.blocks import LayerBlocks


@pytest.mark.parametrize("numel", [1, 40, 2**18])
def test_blocks_put_together_are_the_weight_change(make_layer, deltas, monkeypatch, numel):
    monkeypatch.setattr("lorary.transforms.merging.entrywise.blocks._BLOCK_NUMEL", numel)
    layer = make_layer()
    blocks = LayerBlocks(layer)
    for expert, expected in enumerate(deltas(layer)):
        parts = [blocks.form(expert, rows) for rows in blocks.iterate_rows()]
        torch.testing.assert_close(torch.cat(parts), expected)
        assert torch.equal(torch.cat(parts), blocks.form_whole(expert))


def test_a_block_is_the_callers_to_change(make_layer):
    layer = make_layer()
    before = layer.pairs[0].b.clone()
    LayerBlocks(layer).form(0, slice(0, 5)).zero_()
    assert torch.equal(layer.pairs[0].b, before)
