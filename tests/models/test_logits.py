import pytest
import torch

from lorary.data import TokenizedExample
from lorary.models import attach_experts, select_positions
from lorary.models.logits import target_losses
from lorary.passes.packing import pack_sequences


@pytest.fixture
def positions():
    """Four of 3×7, one of them twice, out of order."""
    return torch.tensor([2, 20, 15, 20])


def test_selected_logits_are_those_of_the_full_model(
    family, build_base, input_ids, compute_logits, positions
):
    model = build_base(family)
    full = compute_logits(model)
    with select_positions(model, positions):
        selected = compute_logits(model)
    assert selected.shape == (1, 4, 96)
    torch.testing.assert_close(selected[0], full.flatten(0, 1)[positions])


def test_an_expert_on_the_output_layer_keeps_its_plan(llama, make_expert, compute_logits, positions):
    """Guards a bug: the plan was for all positions, and refused the few that were left."""
    stack = attach_experts(llama, {"poetry": make_expert(llama, targets=["lm_head", "q_proj"])})
    with stack.assign(["poetry", None, "poetry"]):
        full = compute_logits(llama)
        with select_positions(llama, positions):
            torch.testing.assert_close(compute_logits(llama)[0], full.flatten(0, 1)[positions])


def test_losses_of_targets_equal_those_from_full_logits_of_each_sequence(family, build_base):
    model = build_base(family)
    examples = [
        TokenizedExample((5, 6, 7), (8, 9)),
        TokenizedExample((11,), (12, 13, 14)),
        TokenizedExample((20, 21, 22, 23, 24), (25,)),
    ]
    batch = pack_sequences(examples, row_length=10)
    with torch.no_grad():
        losses = target_losses(model, batch.model_inputs(), batch.positions, batch.labels)
    assert losses.dtype == torch.float32 and len(losses) == 6
    for index, example in enumerate(examples):
        ids = torch.tensor([[*example.prompt_ids, *example.target_ids]])
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0]
        start = len(example.prompt_ids)
        predicted = logits[start - 1 : -1].log_softmax(-1)
        expected = -predicted[torch.arange(len(example.target_ids)), torch.tensor(example.target_ids)]
        torch.testing.assert_close(losses[batch.label_owner == index], expected, rtol=1e-4, atol=1e-5)


def test_after_the_context_all_logits_are_back(llama, compute_logits, positions):
    with pytest.raises(RuntimeError, match="stop"), select_positions(llama, positions):
        raise RuntimeError("stop")
    assert compute_logits(llama).shape == (3, 7, 96)
