import pytest
import torch

from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect import AgreeingEntries, WeightedSum, merge_blocks

# Entry by entry, from three experts.
ENTRIES = torch.tensor([[3.0, -1.0, 2.0], [1.0, 1.0, -2.0], [0.0, -4.0, 1.0], [0.0, 0.0, 0.0]]).T


def elect(election, weights=(1.0, 1.0, 1.0)):
    for entries, weight in zip(ENTRIES, weights, strict=True):
        election.add(entries.clone(), weight)
    return election.result().tolist()


def test_a_sum_takes_every_entry():
    assert elect(WeightedSum(), (1.0, 2.0, -1.0)) == [-1.0, 5.0, -9.0, 0.0]


def test_entries_of_the_elected_sign_are_averaged_or_added():
    # An exact tie, as in the second entry, elects nothing.
    assert elect(AgreeingEntries(normalize=True)) == [2.5, 0.0, -4.0, 0.0]
    assert elect(AgreeingEntries(normalize=False)) == [5.0, 0.0, -4.0, 0.0]


def test_weights_count_in_the_vote_and_in_the_mean():
    assert elect(AgreeingEntries(normalize=True), (1.0, 8.0, 3.0)) == [2.25, 1.0, -4.0, 0.0]


def test_a_negative_weight_turns_an_expert_around():
    assert elect(AgreeingEntries(normalize=False), (1.0, -1.0, 1.0)) == [6.0, -3.0, 5.0, 0.0]


def test_votes_may_differ_from_weights():
    assert elect(AgreeingEntries(normalize=False, votes=[1.0, 9.0, 1.0]), (1.0, 1.0, 1.0)) == [
        -1.0,
        2.0,
        -4.0,
        0.0,
    ]


@pytest.mark.parametrize("numel", [1, 2**18])
def test_a_layer_is_merged_block_by_block(make_layer, deltas, monkeypatch, numel):
    monkeypatch.setattr("lorary.transforms.merging.entrywise.blocks._BLOCK_NUMEL", numel)
    layer = make_layer()
    merged = merge_blocks(LayerBlocks(layer), lambda _, block: block, layer.weights, WeightedSum)
    torch.testing.assert_close(merged, (deltas(layer) / 3).sum(0))
