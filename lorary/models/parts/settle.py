"""Parts on a known base model: equal copies are dropped, and tied weights change together."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.experts import Expert
from lorary.experts.copied_weights import is_same_weight
from lorary.experts.parts.contract import Part
from lorary.experts.parts.tokens import TokensPart
from lorary.experts.parts.whole import WholePart
from lorary.models.parts.place import list_modules, strip


def settle_parts(model: PreTrainedModel, expert: Expert) -> Expert:
    """Return an expert without weights that equal the base model's, and with all modules of tied weights.

    PEFT replaces shared embeddings for all of their modules if it saved them as copies, or trained tokens;
    and for one module if this was a module to save.

    Args:
        model: the base model, with experts or without.
        expert: the expert.
    """
    if not expert.parts:
        return expert
    parts = dict(expert.parts)
    for path, other in _list_tied(model):
        parts = _follow(parts, path, other)
    modules = list_modules(model)
    kept = {}
    for path, own in parts.items():
        module = modules.get(path)
        left = tuple(part for part in (_leave_out_equal(part, module) for part in own) if part is not None)
        if left:
            kept[path] = left
    # An expert must have at least one change, even one that equals the base model's weights.
    return replace(expert, parts=kept) if kept or expert.factors else expert


def _list_tied(model: PreTrainedModel) -> Iterator[tuple[str, str]]:
    """Yield all pairs of paths of modules that share one parameter with the input embeddings, in both orders.

    These may be the output layer, and the embeddings of an encoder and a decoder.
    """
    words = getattr(strip(model.get_input_embeddings()), "weight", None)
    paths = [path for path, module in list_modules(model).items() if getattr(module, "weight", None) is words]
    yield from permutations(paths if words is not None else [], 2)


def _follow(parts: dict[str, tuple[Part, ...]], path: str, other: str) -> dict[str, tuple[Part, ...]]:
    own = [part for part in parts.get(path, ()) if isinstance(part, TokensPart) or _is_copy(part)]
    known = {part.kind for part in parts.get(other, ())}
    more = tuple(part for part in own if part.kind not in known)
    return {**parts, other: (*parts.get(other, ()), *more)} if more else parts


def _is_copy(part: Part) -> bool:
    return isinstance(part, WholePart) and part.is_copy and part.bias is None


def _leave_out_equal(part: Part, module: nn.Module | None) -> Part | None:
    if not isinstance(part, WholePart) or module is None:
        return part
    known = dict(module.named_parameters(recurse=False))
    different = {
        field: tensor
        for field, tensor in part.tensors.items()
        if field not in known or not _is_equal(part, tensor, known[field])
    }
    return part.replace_tensors(different) if different else None


def _is_equal(part: WholePart, tensor: Tensor, known: Tensor) -> bool:
    """Return whether a part's tensor is the base model's; of trained ones, as tiny biases are, exactly."""
    if part.is_copy:
        return is_same_weight(tensor, known)
    return tensor.shape == known.shape and torch.equal(tensor.to(known), known)
