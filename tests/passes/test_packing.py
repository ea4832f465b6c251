import pytest
import torch
from transformers import AutoModelForCausalLM

from lorary.data import TokenizedExample
from lorary.models.routing_context import PADDING
from lorary.passes.packing import pack_sequences
from lorary.passes.prefixes import read_tokens


def sequences_of(*lengths, seed=0):
    """Examples of these prompt and target lengths, their tokens all different from padding."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for num_prompt, num_target in lengths:
        ids = torch.randint(3, 96, (num_prompt + num_target,), generator=generator).tolist()
        found.append(TokenizedExample(tuple(ids[:num_prompt]), tuple(ids[num_prompt:])))
    return found


@pytest.mark.parametrize("row_length", [1, 12, 30])
def test_packed_logits_equal_those_of_each_sequence_alone(family, tiny_config, row_length):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config(family)).eval()
    sequences = sequences_of((4, 3), (1, 1), (6, 2), (2, 4), (3, 1))
    batch = pack_sequences(sequences, row_length)
    with torch.no_grad():
        packed = model(**batch.model_inputs()).logits
        for index, sequence in enumerate(sequences):
            ids = torch.tensor([read_tokens(sequence)])
            alone = model(input_ids=ids, use_cache=False).logits[0]
            torch.testing.assert_close(packed[batch.owner == index], alone, rtol=1e-4, atol=1e-4)


def test_every_token_of_every_sequence_is_in_its_place():
    sequences = sequences_of((4, 3), (1, 1), (6, 2), (2, 4))
    batch = pack_sequences(sequences, 10)
    for index, sequence in enumerate(sequences):
        ids = list(read_tokens(sequence))
        mine = batch.owner == index
        assert mine.any(1).sum() == 1
        assert batch.input_ids[mine].tolist() == ids
        assert batch.position_ids[mine].tolist() == list(range(len(ids)))


def test_labels_are_the_targets_and_stand_one_place_after_where_they_are_predicted():
    sequences = sequences_of((4, 3), (1, 1), (6, 2), (2, 4))
    batch = pack_sequences(sequences, 10)
    for index, sequence in enumerate(sequences):
        assert tuple(batch.labels[batch.label_owner == index].tolist()) == sequence.target_ids
        cells = batch.positions[batch.label_owner == index]
        assert (batch.owner.flatten()[cells] == index).all()
        places = batch.position_ids.flatten()[cells].tolist()
        assert places == [len(sequence.prompt_ids) - 1 + i for i in range(len(sequence.target_ids))]


def test_padding_is_a_sequence_of_its_own_that_nobody_owns():
    batch = pack_sequences(sequences_of((4, 4), (2, 3)), 7, padding_id=9)
    padding = batch.owner == PADDING
    assert padding.sum() == 3
    assert batch.input_ids[padding].tolist() == [9, 9, 9]
    assert batch.position_ids[padding].tolist() == [0, 1, 2]
    assert not padding.flatten()[batch.positions].any()


def test_rows_are_filled_first_fit_from_the_longest():
    batch = pack_sequences(sequences_of((3, 2), (5, 4), (1, 2), (4, 3)), 10)
    assert [sorted(set(row.tolist()) - {PADDING}) for row in batch.owner] == [[1, 2], [0, 3]]
    assert (batch.owner == PADDING).sum() == 0


def test_rows_are_no_longer_than_what_is_in_them():
    assert pack_sequences(sequences_of((2, 2), (1, 2)), 100).input_ids.shape == (1, 5)


def test_a_sequence_longer_than_a_row_has_a_row_of_its_own():
    batch = pack_sequences(sequences_of((9, 3), (2, 1), (1, 1)), 5)
    assert batch.input_ids.shape == (2, 11)
    assert set(batch.owner[0].tolist()) == {0}


def test_moving_a_batch_keeps_every_part_in_its_place():
    batch = pack_sequences(sequences_of((4, 3), (2, 2)), 7)
    moved = batch.to("cpu")
    assert moved.attention_mask is None
    for name in ("input_ids", "position_ids", "owner", "labels", "label_owner", "positions"):
        assert torch.equal(getattr(moved, name), getattr(batch, name))


def test_nothing_to_pack_is_refused():
    with pytest.raises(ValueError, match="there must be at least one sequence"):
        pack_sequences([], 10)


def test_a_sequence_without_a_prompt_is_refused():
    with pytest.raises(ValueError, match="sequence 1 must have a prompt of at least one token"):
        pack_sequences([TokenizedExample((3,), (4,)), TokenizedExample((), (4,))], 10)
