"""Moving a model with experts to another device or dtype, in place; after an error it is as it was."""

import copy
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.experts.factors import DTYPES, name_dtypes
from lorary.experts.parts.table import KINDS
from lorary.files import escape, quote
from lorary.models.evaluating import MODEL_FAILURES
from lorary.models.expert_stack import ExpertStack
from lorary.models.prompt_inputs import VirtualTokens
from lorary.models.quantized.packed_layers import is_packed_tensor
from lorary.models.soft_prompts import SoftPrompts


@contextmanager
def moved(
    stack: ExpertStack, device: torch.device | None, dtype: torch.dtype | None
) -> Iterator[ExpertStack]:
    """Move a model and its experts; if the context ends with an error, they are back as they were.

    Every tensor gets the dtype that it has in a model loaded in this dtype: rotary frequencies stay float32,
    for example. Until the context ends, both copies are in memory.

    Args:
        stack: the experts on the model. Its layers are moved in place and belong to the new stack; use only
            that one. Routers are not moved and must be set again.
        device: where to; None leaves each tensor where it is.
        dtype: of the weights; None leaves it.

    Yields:
        The new stack.

    Raises:
        ValueError: within ``assign``, ``planned`` or ``routed``; if the base model is quantised or on several
            devices; or if the dtype is to change and is unknown, an expert has more than low-rank factors, or
            the model cannot be made in it.
    """
    with stack.context.lock.changing("move the model"), ExitStack() as undo:
        _check_movable(stack, device, dtype)
        before = stack.model.dtype
        # Parameters must not become inference tensors.
        with torch.inference_mode(False), torch.no_grad():
            with stack.set_aside() as model:
                _move_base(model, device, dtype, undo)
            _move_experts(stack, device, dtype, undo)
        if dtype is not None:
            _note_dtype(stack, before, dtype, undo)
        yield _renew_stack(stack, device, undo)
        undo.pop_all()


def _check_movable(stack: ExpertStack, device: torch.device | None, dtype: torch.dtype | None) -> None:
    model = stack.model
    if getattr(model, "is_quantized", False) or any(map(is_packed_tensor, model.parameters())):
        raise ValueError(
            "a base model with quantised weights keeps its device and its dtype: load it with "
            "load_model(…, device=…, dtype=…) again"
        )
    devices = sorted({str(parameter.device) for parameter in model.parameters()})
    if device is not None and len(devices) > 1:
        raise ValueError(
            f"only a model on one device can be moved, this one is on {', '.join(devices)}: load its base "
            "model without a device_map"
        )
    if dtype is None:
        return
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {name_dtypes()}, found {quote(str(dtype))}")
    if stack.kinds:
        name, kinds = next(iter(stack.kinds.items()))
        titles = " and ".join(KINDS[kind].title for kind in kinds)
        raise ValueError(
            f"expert {quote(name)} has {titles}, which are prepared for the dtype of the base "
            f"model: load the model with load_model(…, dtype={dtype})"
        )


def _move_base(
    model: PreTrainedModel, device: torch.device | None, dtype: torch.dtype | None, undo: ExitStack
) -> None:
    """Move a base model without experts."""
    wanted = {} if dtype is None else _find_dtypes(model, dtype)
    seen: dict[int, Tensor] = {}
    for path, module in model.named_modules():
        for name in [*module._parameters, *module._buffers]:
            own = f"{path}.{name}" if path else name
            _move(module, name, device, wanted.get(own), seen, undo)


def _move_experts(
    stack: ExpertStack, device: torch.device | None, dtype: torch.dtype | None, undo: ExitStack
) -> None:
    """Move the experts' stacks and parts, after the base model."""
    seen: dict[int, Tensor] = {}
    for layer in stack.layers.values():
        own = None if dtype is None else layer.base.weight.dtype
        for name in ("a", "b_t", "ranks"):
            _move(layer, name, device, own, seen, undo)
    parts = (layer.parts for layer in stack.layers.values() if layer.parts is not None)
    for each in chain(parts, (module.parts for module in stack.modules.values())):
        for module in each.modules():
            for name in [*module._parameters, *module._buffers]:
                _move(module, name, device, None, seen, undo)


def _move(
    module: nn.Module,
    name: str,
    device: torch.device | None,
    dtype: torch.dtype | None,
    seen: dict[int, Tensor],
    undo: ExitStack,
) -> None:
    """Move one parameter or buffer of a module; modules that share it continue to do so."""
    before = getattr(module, name)
    if before is None or (isinstance(before, nn.Parameter) and id(before) in seen):
        return
    if id(before) not in seen:
        own = dtype if before.is_floating_point() else None
        seen[id(before)] = before.data.to(device or before.device, own or before.dtype)
    if isinstance(before, nn.Parameter):
        undo.callback(setattr, before, "data", before.data)
        before.data = seen[id(before)]
    else:
        undo.callback(module._buffers.__setitem__, name, before)
        module._buffers[name] = seen[id(before)]


def _find_dtypes(model: PreTrainedModel, dtype: torch.dtype) -> Mapping[str, torch.dtype]:
    """Return the dtypes that a model's tensors have if it is loaded in a dtype."""
    try:
        # Some models draw numbers while they are made.
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            made = type(model)._from_config(copy.deepcopy(model.config), dtype=dtype)
        kept = made._get_dtype_plan(dtype)
    except MODEL_FAILURES as error:
        raise ValueError(
            f"this {type(model).__name__} cannot be changed to {dtype} "
            f"({escape(str(error), longest=200)}): load it with load_model(…, dtype={dtype})"
        ) from error
    named = chain(made.named_parameters(remove_duplicate=False), made.named_buffers(remove_duplicate=False))
    found = {name: tensor.dtype for name, tensor in named if tensor.is_floating_point()}
    for name in made.state_dict(keep_vars=True).keys() & found.keys():
        for part, own in kept.items():
            if re.search(part.replace("*", ".*"), name):
                found[name] = own
    return found


def _note_dtype(stack: ExpertStack, before: torch.dtype, dtype: torch.dtype, undo: ExitStack) -> None:
    """Note the dtype in the model's configurations, as loading does, and to what its values are rounded."""
    config = stack.model.config
    own = [getattr(config, name, None) for name in config.sub_configs]
    for each in [config, *(other for other in own if other is not None)]:
        undo.callback(setattr, each, "dtype", each.dtype)
        each.dtype = dtype
    context = stack.context
    undo.callback(setattr, context, "rounded", context.rounded)
    # Rounding from a wider dtype is what loading does too.
    rounded = context.rounded
    if torch.promote_types(before, dtype) != before:
        rounded = (*rounded, before)
    context.rounded = rounded[:-1] if rounded[-1:] == (dtype,) else rounded


def _renew_stack(stack: ExpertStack, device: torch.device | None, undo: ExitStack) -> ExpertStack:
    """Return a new stack of the same experts, for which routers of the one before are refused."""
    before = stack.soft_prompts.prompts
    prompts = {place: _move_prompt(prompt, device) for place, prompt in before.items()}
    stack.soft_prompts.remove()
    renewed = ExpertStack(
        stack.model,
        stack.names,
        stack.layers,
        stack.context,
        stack.modules,
        stack.kinds,
        prompts,
        stack.general,
        stack.start_seeds,
    )

    def put_back() -> None:
        renewed.soft_prompts.remove()
        stack.soft_prompts = SoftPrompts(before, stack.context).watch(stack.model)

    undo.callback(put_back)
    return renewed


def _move_prompt(prompt: VirtualTokens, device: torch.device | None) -> VirtualTokens:
    embeddings, states = (
        None if tensor is None else tensor.to(device or tensor.device)
        for tensor in (prompt.embeddings, prompt.states)
    )
    return VirtualTokens(embeddings, states)
