"""Packing with shared beginnings, against each sequence alone."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from lorary.data import TokenizedExample
from lorary.models.routing_context import PADDING
from lorary.passes.packing import pack_sequences
from lorary.passes.prefixes import read_tokens

# A definition, two questions after it, and their answers; one question stands alone, one example twice.
DEFINITION = (5, 6, 7, 8)
EXAMPLES = [
    TokenizedExample((*DEFINITION, 10, 11), (20, 21)),
    TokenizedExample((*DEFINITION, 10, 11), (20, 22, 23)),
    TokenizedExample((*DEFINITION, 12), (24,)),
    TokenizedExample((30, 31), (32, 33)),
    TokenizedExample((*DEFINITION, 10, 11), (20, 21)),
    TokenizedExample((5, 6, 40), (41,)),
]


@pytest.fixture
def model(family, tiny_config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny_config(family)).eval()


def predict_alone(model, example):
    """The logits that predict each target token, from the sequence by itself."""
    ids = torch.tensor([read_tokens(example)])
    return model(input_ids=ids, use_cache=False).logits[0, len(example.prompt_ids) - 1 :]


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("row_length", [1, 8, 12, 60])
@pytest.mark.parametrize("groups", [[0] * 6, [0, 0, 1, 1, 1, 0]], ids=["one group", "two groups"])
def test_shared_logits_equal_those_of_each_sequence_alone(model, attention, row_length, groups):
    model.set_attn_implementation(attention)
    batch = pack_sequences(EXAMPLES, row_length, groups=groups)
    logits = model(**batch.model_inputs()).logits.flatten(0, 1)[batch.positions]
    for index, example in enumerate(EXAMPLES):
        mine = logits[batch.label_owner == index]
        torch.testing.assert_close(mine, predict_alone(model, example), rtol=1e-4, atol=1e-4)


def test_gradients_equal_those_of_each_sequence_alone(tiny_config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("llama")).eval()
    batch = pack_sequences(EXAMPLES, 60, groups=[0] * 6)
    logits = model(**batch.model_inputs()).logits.flatten(0, 1)[batch.positions]
    torch.nn.functional.cross_entropy(logits, batch.labels, reduction="sum").backward()
    shared = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for example in EXAMPLES:
        labels = torch.tensor(example.target_ids)
        alone = predict_alone(model, example)
        torch.nn.functional.cross_entropy(alone, labels, reduction="sum").backward()
    for found, parameter in zip(shared, model.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-5)


def test_equal_beginnings_have_one_cell_each():
    batch = pack_sequences(EXAMPLES, 60, groups=[0] * 6)
    # 5 6, then 7 8 with 10 11 20 (22 after it) and 12, then 40; and 30 31 32 by themselves.
    assert (batch.owner != PADDING).sum() == 2 + 2 + 3 + 1 + 1 + 1 + 3
    assert batch.labels.tolist() == [token for example in EXAMPLES for token in example.target_ids]


def test_sequences_of_different_groups_share_nothing():
    batch = pack_sequences(EXAMPLES[:2], 60, groups=["a", "b"])
    assert batch.attention_mask is None
    assert (batch.owner != PADDING).sum() == sum(len(read_tokens(example)) for example in EXAMPLES[:2])


def test_a_cell_sees_its_own_sequence_up_to_itself_and_nothing_else():
    batch = pack_sequences(EXAMPLES, 16, groups=[0] * 6)
    for row, sees in enumerate(batch.attention_mask[:, 0]):
        for cell, places in enumerate(batch.position_ids[row]):
            seen = batch.position_ids[row][sees[cell]]
            expected = [0] if batch.owner[row, cell] == PADDING else list(range(int(places) + 1))
            assert len(seen) == 1 if expected == [0] else sorted(seen.tolist()) == expected


def test_a_piece_is_cut_where_a_row_is_full():
    examples = [TokenizedExample((5, 6, 7, number), (9,)) for number in range(10, 16)]
    batch = pack_sequences(examples, 6, groups=[0] * 6)
    assert batch.input_ids.shape == (2, 6)


def test_moving_a_shared_batch_moves_its_mask():
    batch = pack_sequences(EXAMPLES, 16, groups=[0] * 6)
    assert torch.equal(batch.to("cpu").attention_mask, batch.attention_mask)


@pytest.mark.parametrize("groups", [None, [0] * 6, [0, 0, 1, 1, 1, 0]])
@pytest.mark.parametrize("row_length", [8, 60])
def test_all_tokens_of_all_sequences_are_counted_however_they_share_cells(groups, row_length):
    batch = pack_sequences(EXAMPLES, row_length, groups=groups)
    assert int(batch.uses.sum()) == sum(len(read_tokens(example)) for example in EXAMPLES)
    assert torch.equal(batch.uses == 0, batch.owner == PADDING)
