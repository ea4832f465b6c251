"""Checks of tensors' shapes, written as letters, and of a layer router's results.

E experts, I layer input, K experts kept per token.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lorary.files import escape, quote, say_count


def find_shape_fault(
    shapes: Mapping[str, str], tensors: Mapping[str, Tensor], sizes: Mapping[str, int]
) -> str | None:
    """Describe the first fault in the shapes of some tensors.

    Args:
        shapes: name -> a letter for each dimension, such as ``"ERI"``; a letter has the same size everywhere.
        tensors: name -> tensor; a tensor without an entry in ``shapes`` may have any shape.
        sizes: letter -> size, as far as sizes are known.

    Returns:
        The fault; None if there is none.
    """
    known = dict(sizes)
    for name, letters in shapes.items():
        if name not in tensors:
            continue
        found = tuple(tensors[name].shape)
        expected = [known.get(letter, letter) for letter in letters]
        is_right = len(found) == len(letters) and all(
            size == known.setdefault(letter, size) for letter, size in zip(letters, found, strict=True)
        )
        if not is_right:
            wanted = f"[{', '.join(letters)}] = [{', '.join(map(str, expected))}]"
            return f"{name} must be {wanted}, found {list(found)}"
    return None


@torch.no_grad()
def check_router(router: nn.Module, path: str, x: Tensor, num_experts: int) -> None:
    """Check that a layer router fits its layer, before compiled operators read its buffers.

    A router may state the shapes of its buffers in ``SHAPES``, where E is the number of experts that it
    chooses from. Every router is tried on one token.

    Args:
        router: the router.
        path: the layer's module path, for messages.
        x: an input of the layer, one token ``[1, I]``.
        num_experts: number of all experts on the layer.

    Raises:
        ValueError: if it does not fit; the message has the layer and the fault.
    """
    shapes: Mapping[str, str] = getattr(router, "SHAPES", {})
    buffers = dict(router.named_buffers(recurse=False))
    fault = find_shape_fault(shapes, buffers, {"I": x.shape[1]})
    fault = (
        fault or _find_count_fault(shapes, buffers, num_experts) or _find_answer_fault(router, x, num_experts)
    )
    if fault:
        raise ValueError(f"the router of layer {quote(path)} does not fit it, {fault}")


def _find_count_fault(
    shapes: Mapping[str, str], buffers: Mapping[str, Tensor], num_experts: int
) -> str | None:
    for name, letters in shapes.items():
        if letters[0] == "E" and len(buffers[name]) > num_experts:
            return (
                f"{name} must be for at most {say_count(num_experts, 'expert')}, found {len(buffers[name])}"
            )
    return None


def _find_answer_fault(router: nn.Module, x: Tensor, num_experts: int) -> str | None:
    try:
        indices, weights = router(x)
        if indices.shape != weights.shape or indices.dim() != 2 or len(indices) != len(x):
            return (
                "it must return indices and weights of shape [T, K], found "
                f"{list(indices.shape)} and {list(weights.shape)}"
            )
        if indices.dtype != torch.int64 or not weights.is_floating_point():
            return (
                "it must return int64 indices and floating-point weights, found "
                f"{indices.dtype} and {weights.dtype}"
            )
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < num_experts:
            return (
                f"it must choose among {say_count(num_experts, 'expert')}, found "
                f"{indices.flatten().tolist()[:20]}"
            )
        if not weights.isfinite().all():
            return "it must return finite weights, found NaN or infinity"
    except (ArithmeticError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        # A user's own router may raise any of these.
        fault = escape(str(error), longest=200)
        return (
            f"it cannot read a token of {say_count(x.shape[1], 'number')} ({type(error).__name__}: {fault})"
        )
    return None
