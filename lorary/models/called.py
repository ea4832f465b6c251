"""Finding the layers that can have experts, by running two short texts.

B texts, L tokens of each, I layer input.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.experts.parts.soft_prompt import MODEL
from lorary.experts.stacked_parameters import read_entry
from lorary.files import escape
from lorary.models.architecture import is_encoder_decoder, repeat_start
from lorary.models.evaluating import MODEL_FAILURES, evaluating
from lorary.models.expert_gate import ExpertGate, is_gate_result
from lorary.models.expert_linear import ExpertLinear
from lorary.models.layers import BaseLayer, is_gate, layer_shape, takes_factors
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
_OTHER_MIXTURE = "it is a mixture of experts that computes more than its stacked weights"
_SHARED = "its output is not one row for each token of the batch, in its order"
_ROUTED = "it receives tokens in another order than the batch's, as in a mixture of experts"

_Inputs = dict[str, list[Tensor]]
"""Module path -> its input (of other modules than layers: its output) at each call, ``[rows, I]``."""
_Read = Callable[[str, tuple[Tensor, ...], object], Tensor]
"""Returns the compared part of a call, from a module's path, its arguments and its output."""


class _Trial(NamedTuple):
    """The result of a trial."""

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
    """Check that all modules that an expert changes can have experts.

    Args:
        model: the base model, with experts or without.
        name: the expert's name, for the message.
        paths: the modules that it changes.

    Raises:
        IncompatibleExpert: if some cannot; the message names the first few, with the reasons.
    """
    mixtures = {entry.module for path in paths if (entry := read_entry(path)) is not None}
    unfit = {
        **find_unfit_layers(model),
        **_find_unfit_modules(model, paths),
        **{path: _OTHER_MIXTURE for path in mixtures if not _is_open(model, path)},
    }
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
        and (isinstance(module, ExpertLinear | Mixture) or takes_factors(module) or is_mixture(module))
    }
    is_linear: dict[str, bool] = {}

    def read_input(path: str, given: tuple[Tensor, ...], answer: object) -> Tensor:
        if not given:  # a mixture that is called by keywords
            is_linear[path] = False
            return torch.zeros(0, 1)
        width_in, width_out = _find_widths(layers[path])
        fits = isinstance(answer, Tensor) and answer.shape == (*given[0].shape[:-1], width_out)
        if isinstance(layers[path], ExpertGate) or is_gate(layers[path]):
            fits = is_gate_result(answer, given[0].shape[:-1].numel())
        is_linear[path] = fits and given[0].shape[-1] == width_in
        return given[0]

    found = _find_ordered(model, layers, read_input)
    if found is None:
        return _Trial({}, frozenset())
    inputs, ordered = found
    faults = {}
    for path in layers:
        if path not in inputs:
            faults[path] = _NOT_CALLED
        elif not is_linear[path]:
            faults[path] = _NOT_LINEAR
        elif path not in ordered:
            faults[path] = _ROUTED
    num_rows = len(_TEXTS) * len(_TEXTS[0])
    reading = {path for path, calls in inputs.items() if all(len(rows) == num_rows for rows in calls)}
    return _Trial(faults, frozenset(reading))


@torch.no_grad()
def _find_unfit_modules(model: PreTrainedModel, paths: Sequence[str]) -> dict[str, str]:
    """Find the modules of some paths that are not linear layers and cannot have experts, with the reasons."""
    modules = {
        path: model.get_submodule(path) for path in paths if path != MODEL and read_entry(path) is None
    }
    others = {
        path: module
        for path, module in modules.items()
        if not isinstance(module, ExpertLinear) and not takes_factors(module)
    }
    if not others:
        return {}

    def read_output(path: str, given: tuple[Tensor, ...], answer: object) -> Tensor:
        return answer if isinstance(answer, Tensor) and answer.ndim > 1 else torch.zeros(0, 1)

    found = _find_ordered(model, others, read_output)
    if found is None:
        return {}
    called, ordered = found
    return {path: _SHARED if path in called else _NOT_CALLED for path in others if path not in ordered}


def _find_ordered(
    model: PreTrainedModel, modules: Mapping[str, nn.Module], read: _Read
) -> tuple[_Inputs, set[str]] | None:
    """Run two texts; return what is read of modules, and the modules whose rows are tokens in their order.

    It is None if the model cannot run two short texts.
    """
    size = model.get_input_embeddings().weight.shape[0]
    texts = torch.tensor(_TEXTS, device=model.device) % size
    try:
        with evaluating(model):
            before = _run(model, modules, texts, read)
            swapped = _run(model, modules, texts.flip(0), read)
            places = () if is_encoder_decoder(model) else range(texts.shape[1])
            changed = [_run(model, modules, _change(texts, place, size), read) for place in places]
        return before, {path for path in before if _keeps_order(before[path], swapped, changed, path)}
    except MODEL_FAILURES:
        return None


def _change(texts: Tensor, place: int, size: int) -> Tensor:
    changed = texts.clone()
    changed[0, place] = _OTHER % size
    return changed


def _run(model: PreTrainedModel, modules: Mapping[str, nn.Module], texts: Tensor, read: _Read) -> _Inputs:
    """Run texts ``[B, L]``; return what is read of each module at each call, ``[rows, I]``.

    A decoder with an encoder gets texts of L+1 tokens, so that its layers can be distinguished from the
    encoder's.
    """
    inputs: _Inputs = {}
    is_pair = is_encoder_decoder(model)

    def note(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], object], None]:
        def hook(layer: nn.Module, given: tuple[Tensor, ...], answer: object) -> None:
            found = read(path, given, answer).detach()
            inputs.setdefault(path, []).append(found.flatten(0, -2).clone())
            if is_pair and found.shape[:-2] != texts.shape[:1]:
                inputs[path].append(found.new_empty(0, found.shape[-1]))  # its rows are in another order

        return in_this_thread(hook)

    handles = [module.register_forward_hook(note(path)) for path, module in modules.items()]
    decoder_texts = {"decoder_input_ids": repeat_start(texts)} if is_pair else {}
    try:
        model(input_ids=texts, **decoder_texts, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return inputs


def _find_widths(layer: nn.Module) -> tuple[int, int]:
    """Return the width of a layer's or a mixture's inputs and outputs."""
    layer = layer.base if isinstance(layer, ExpertLinear | Mixture) else layer
    if takes_factors(layer):
        return layer_shape(cast(BaseLayer, layer))
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
