"""Finding the layers that can have experts, by running two short texts.

B texts, L tokens of each, I layer input.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.experts.stacked_parameters import read_entry
from lorary.files import escape
from lorary.models.architecture import is_encoder_decoder, repeat_start
from lorary.models.evaluating import MODEL_FAILURES, evaluating
from lorary.models.expert_linear import ExpertLinear
from lorary.models.layers import is_base_layer, layer_shape
from lorary.models.mixture import Mixture, is_mixture
from lorary.models.per_thread import in_this_thread
from lorary.models.stacked_layers import stacked_shape

_TEXTS = ((5, 6, 7), (8, 9, 10))
_OTHER = 11
# Largest relative difference of equal inputs in different batches; half precision rounds that coarsely.
_ROUNDING = 0.02

_NOT_CALLED = (
    "it is not called for text: its weight is read without a call, or it is part of an encoder of images, "
    "sound or text"
)
_NOT_LINEAR = "it computes more than a linear layer, or returns several tensors"
_OTHER_MIXTURE = "it is a mixture of experts that computes more than its stacked weights say"
_ROUTED = "it receives tokens in another order than the batch's, as in a mixture of experts"

_Inputs = dict[str, list[Tensor]]
"""Module path -> its input at each call, ``[rows, I]``."""


class _Trial(NamedTuple):
    """What a trial found."""

    unfit: dict[str, str]
    """Module path -> why this layer cannot have experts."""
    reading: frozenset[str]
    """The paths of layers that are given one row for each token of ``input_ids``."""


_KEPT: "WeakKeyDictionary[PreTrainedModel, _Trial]" = WeakKeyDictionary()


def find_unfit_layers(model: PreTrainedModel) -> Mapping[str, str]:
    """Find the linear layers and mixtures that cannot have experts, with the reasons.

    An expert changes a layer's output for a token. So the layer must be called with all tokens of a batch, in
    the batch's order. This is found by a trial, whose result is remembered as long as the model exists. The
    model is not changed.

    Args:
        model: any language model, with experts or without.

    Returns:
        Module path -> the reason, for messages. Empty if the model cannot run two short texts.
    """
    return _try(model).unfit


def find_reading_layers(model: PreTrainedModel) -> frozenset[str]:
    """Find the layers that are given one row for each token of ``input_ids``.

    If a model has an encoder and a decoder, these are the encoder's layers, and in the decoder the keys and
    values of cross-attention. The result is remembered as long as the model exists.

    Args:
        model: any language model, with experts or without.

    Returns:
        Module paths.
    """
    return _try(model).reading


def _try(model: PreTrainedModel) -> _Trial:
    if model not in _KEPT:
        _KEPT[model] = _try_layers(model)
    return _KEPT[model]


def _is_open(model: PreTrainedModel, path: str) -> bool:
    module = model.get_submodule(path)
    return isinstance(module, Mixture) or is_mixture(module)


def check_called(model: PreTrainedModel, name: str, paths: Sequence[str]) -> None:
    """Check that all layers that an expert changes can have experts.

    Args:
        model: the base model, with experts or without.
        name: the expert's name, for the message.
        paths: the layers that it changes.

    Raises:
        IncompatibleExpert: if some cannot; the message names the first few, with the reasons.
    """
    unfit = find_unfit_layers(model)
    mixtures = {entry.module for path in paths if (entry := read_entry(path)) is not None}
    unfit = {**unfit, **{path: _OTHER_MIXTURE for path in mixtures if not _is_open(model, path)}}
    faults = [
        f"{escape(path, keep='', longest=80)}: {unfit[path]}"
        for path in (*paths, *sorted(mixtures))
        if path in unfit
    ]
    if faults:
        shown = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
        raise IncompatibleExpert(
            f"expert {name!r} changes layers of this {type(model).__name__} that cannot have experts "
            f"({shown}): fold it into the base model (lorary.fold), or train it without these layers"
        )


@torch.no_grad()
def _try_layers(model: PreTrainedModel) -> _Trial:
    layers = {
        path: module
        for path, module in model.named_modules()
        if not path.endswith(".base")
        and read_entry(path) is None
        and (isinstance(module, ExpertLinear | Mixture) or is_base_layer(module) or is_mixture(module))
    }
    size = model.get_input_embeddings().weight.shape[0]
    texts = torch.tensor(_TEXTS, device=model.device) % size
    try:
        with evaluating(model):
            inputs, is_linear = _run(model, layers, texts)
            swapped, _ = _run(model, layers, texts.flip(0))
            places = () if is_encoder_decoder(model) else range(texts.shape[1])
            changed = [_run(model, layers, _change(texts, place, size))[0] for place in places]
        kept = {path for path in inputs if _keeps_order(inputs[path], swapped, changed, path)}
    except MODEL_FAILURES:
        return _Trial({}, frozenset())
    faults = {}
    for path in layers:
        if path not in inputs:
            faults[path] = _NOT_CALLED
        elif not is_linear[path]:
            faults[path] = _NOT_LINEAR
        elif path not in kept:
            faults[path] = _ROUTED
    num_rows = texts.numel()
    reading = {path for path, calls in inputs.items() if all(len(rows) == num_rows for rows in calls)}
    return _Trial(faults, frozenset(reading))


def _change(texts: Tensor, place: int, size: int) -> Tensor:
    changed = texts.clone()
    changed[0, place] = _OTHER % size
    return changed


def _run(
    model: PreTrainedModel, layers: Mapping[str, nn.Module], texts: Tensor
) -> tuple[_Inputs, dict[str, bool]]:
    """Run texts ``[B, L]``; return each layer's inputs, and whether its output has a linear layer's shape.

    A decoder with an encoder gets texts of L+1 tokens, so that its layers can be told from the encoder's.
    """
    inputs: _Inputs = {}
    is_linear: dict[str, bool] = {}

    def note(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], object], None]:
        def hook(layer: nn.Module, given: tuple[Tensor, ...], answer: object) -> None:
            inputs.setdefault(path, []).append(given[0].detach().flatten(0, -2).clone())
            width_in, width_out = _find_widths(layer)
            fits = isinstance(answer, Tensor) and answer.shape == (*given[0].shape[:-1], width_out)
            is_linear[path] = fits and given[0].shape[-1] == width_in
            if is_pair and given[0].shape[:-2] != texts.shape[:1]:
                inputs[path].append(given[0].new_empty(0, width_in))  # its rows are in another order

        return in_this_thread(hook)

    handles = [layer.register_forward_hook(note(path)) for path, layer in layers.items()]
    is_pair = is_encoder_decoder(model)
    decoder_texts = {"decoder_input_ids": repeat_start(texts)} if is_pair else {}
    try:
        model(input_ids=texts, **decoder_texts, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return inputs, is_linear


def _find_widths(layer: nn.Module) -> tuple[int, int]:
    """Return the width of a layer's or a mixture's inputs and outputs."""
    layer = layer.base if isinstance(layer, ExpertLinear | Mixture) else layer
    if is_base_layer(layer):
        return layer_shape(layer)
    _, width = stacked_shape(layer, "down_proj")
    return width, width


def _keeps_order(before: Sequence[Tensor], swapped: _Inputs, changed: Sequence[_Inputs], path: str) -> bool:
    """Return whether rows are tokens in the batch's order, at each call of a layer.

    Args:
        before: the layer's inputs for the two texts, ``[rows, I]`` per call.
        swapped: all layers' inputs for the texts in reverse order.
        changed: for each place, all layers' inputs with another token there in the first text.
        path: the layer.
    """
    others = [each.get(path, []) for each in (swapped, *changed)]
    if any(len(calls) != len(before) for calls in others):
        return False
    return all(
        _is_ordered(before[call], others[0][call], [calls[call] for calls in others[1:]])
        for call in range(len(before))
    )


def _is_ordered(before: Tensor, swapped: Tensor, changed: Sequence[Tensor]) -> bool:
    num_texts, length = len(_TEXTS), len(_TEXTS[0])
    if len(before) < num_texts * length or len(before) % num_texts:
        return False
    if any(each.shape != before.shape for each in (swapped, *changed)):
        return False
    blocks = before.unflatten(0, (num_texts, -1))  # [B, rows of a text, I]
    if bool((_compare(swapped.unflatten(0, (num_texts, -1)), blocks.flip(0)) > _ROUNDING).any()):
        return False
    if blocks.shape[1] % length:
        return True  # the model adds tokens of its own before each text; they belong to the text's request
    first = blocks[0].unflatten(0, (length, -1)).flatten(1)  # [L, rows of a token x I]
    for place, other in enumerate(changed):
        differences = _compare(other.view_as(blocks)[0].view_as(first), first)  # [L]
        # A token changes its own rows; rows of earlier tokens change by rounding only.
        if bool(differences[place] < differences[:place].sum()):
            return False
    return True


def _compare(found: Tensor, expected: Tensor) -> Tensor:
    """Return the relative difference of each row, ``[*]``."""
    expected = expected.float()
    return (found.float() - expected).norm(dim=-1) / expected.norm(dim=-1).clamp(min=1e-30)
