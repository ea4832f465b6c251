import pytest
import torch

from lorary.models import attach_experts, attach_slots, find_layers, fold
from lorary.training.objective import example_losses


@pytest.mark.parametrize("share", [False, True])
def test_losses_are_those_of_each_example_under_its_own_expert(
    base, make_examples, compute_loss, make_expert, share
):
    experts = {name: make_expert(base.model, name, seed) for seed, name in enumerate(["poetry", "sql"])}
    folded = [fold(base.model, expert) for expert in experts.values()]
    stack = attach_experts(base.model, experts)
    examples, slots = make_examples(3, num_train=6).train, [1, 0, 0, 1, 1, 0]
    # Twice the same prompts: with both experts, and with the same expert for two answers.
    examples, slots = [*examples, *examples[:4]], [*slots, 1, 1, 1, 0]
    losses, owner = example_losses(stack, examples, slots, scale=1.0, row_length=16, share=share)
    assert losses.dtype == torch.float32
    for index, (example, slot) in enumerate(zip(examples, slots, strict=True)):
        found = losses[owner == index]
        assert len(found) == len(example.target_ids)
        torch.testing.assert_close(found.mean(), compute_loss(folded[slot], [example]))


def test_the_scale_multiplies_the_change(base, make_examples, compute_loss, make_expert):
    expert = make_expert(base.model, "poetry", 0)
    half = type(expert)("half", "", {path: type(f)(f.a, 0.5 * f.b) for path, f in expert.factors.items()})
    folded = fold(base.model, half)
    stack = attach_experts(base.model, {"poetry": expert})
    (example,) = make_examples(3, num_train=1).train
    losses, _ = example_losses(stack, [example], [0], scale=0.5, row_length=16, share=True)
    torch.testing.assert_close(losses.mean(), compute_loss(folded, [example]))


def test_no_gradient_reaches_a_slot_that_is_not_used(base, make_examples):
    stack = attach_slots(base.model, find_layers(base.model, "all-linear"), num_slots=3, rank=2)
    for layer in stack.layers.values():
        torch.nn.init.normal_(layer.a)
        layer.b_t.requires_grad_()
    examples = make_examples(3, num_train=4).train
    losses, _ = example_losses(stack, examples, [2, 0, 2, 0], scale=1.0, row_length=40, share=True)
    losses.sum().backward()
    for layer in stack.layers.values():
        assert [bool(part.any()) for part in layer.b_t.grad] == [True, False, True]
