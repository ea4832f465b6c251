from contextlib import nullcontext

import pytest
import torch

from lorary.models import find_layers
from lorary.models.attach import attach_slots
from lorary.models.checkpointing import checkpoint_layers
from lorary.models.logits import target_losses


def make_stack(model, targets="all-linear"):
    stack = attach_slots(model, find_layers(model, targets), num_slots=3, rank=2)
    generator = torch.Generator().manual_seed(4)
    for layer in stack.layers.values():
        layer.a.data.copy_(torch.randn(layer.a.shape, generator=generator))
        layer.b_t.data.copy_(torch.randn(layer.b_t.shape, generator=generator) * 0.3)
        layer.a.requires_grad_()
        layer.b_t.requires_grad_()
    return stack


def compute_gradients(stack, input_ids):
    """Losses, gradients, and the bytes that the way forward kept; backward comes after the plan has ended."""
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    positions = torch.arange(input_ids.numel() - 1)
    labels = input_ids.flatten()[1:]
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        stack.planned(torch.tensor([[2], [0], [2]]), torch.ones(3, 1)),
    ):
        losses = target_losses(stack.model, {"input_ids": input_ids, "use_cache": False}, positions, labels)
    parameters = [part for layer in stack.layers.values() for part in (layer.a, layer.b_t)]
    return losses.detach(), torch.autograd.grad(losses.sum(), parameters), sum(kept.values())


def test_gradients_are_the_same_and_less_is_kept(family, build_base, input_ids):
    stack = make_stack(build_base(family, num_hidden_layers=3))
    losses, gradients, size = compute_gradients(stack, input_ids)
    with checkpoint_layers(stack):
        found, again, size_again = compute_gradients(stack, input_ids)
    torch.testing.assert_close(found, losses)
    for one, other in zip(again, gradients, strict=True):
        torch.testing.assert_close(one, other)
    assert size_again < 0.6 * size


def test_dropout_stays_off(build_base, input_ids):
    stack = make_stack(build_base("gpt2", resid_pdrop=0.5, attn_pdrop=0.5))
    losses, _, _ = compute_gradients(stack, input_ids)
    with checkpoint_layers(stack):
        found, _, _ = compute_gradients(stack, input_ids)
    torch.testing.assert_close(found, losses)


def test_afterwards_the_model_is_as_it_was(llama):
    stack = make_stack(llama)
    before = [(module, module.training, dict(vars(module))) for module in llama.modules()]
    with pytest.raises(RuntimeError, match="on the way"), checkpoint_layers(stack):
        raise RuntimeError("on the way")
    for module, was_training, names in before:
        assert module.training == was_training
        assert not getattr(module, "gradient_checkpointing", False)
        assert "_gradient_checkpointing_func" not in vars(module) or "_gradient_checkpointing_func" in names


def test_a_model_without_such_layers_is_refused(llama, monkeypatch):
    stack = make_stack(llama)
    monkeypatch.setattr("lorary.models.checkpointing.GradientCheckpointingLayer", nullcontext)
    with (
        pytest.raises(ValueError, match="LlamaForCausalLM has no layers that support gradient checkpointing"),
        checkpoint_layers(stack),
    ):
        pass
