"""Checking that a loaded model can have experts: it must be a complete, plain ``transformers`` model."""

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

from transformers import PreTrainedModel

from lorary.errors import BaseModelError
from lorary.files import quote


def check_usable(model: Any) -> None:
    """Check that a model is not wrapped or changed, and that its weights are in memory.

    Raises:
        BaseModelError: if not; the message says what to pass instead.
    """
    # Recognised by its attribute, because importing torch._dynamo for its class takes a second.
    if hasattr(model, "_orig_mod"):
        raise BaseModelError(
            "a base model must not be compiled by torch.compile, since its compiled steps would ignore "
            "experts: pass the model itself (model._orig_mod), and use generate(compile=True)"
        )
    kind = type(model)
    if not isinstance(model, PreTrainedModel):
        advice = (
            ": pass model.merge_and_unload() or model.unload()" if kind.__module__.startswith("peft.") else ""
        )
        raise BaseModelError(f"a base model must be a transformers model, found {kind.__name__}{advice}")
    _check_layers(model)
    _check_generation(model)


def _check_layers(model: PreTrainedModel) -> None:
    for path, module in model.named_modules():
        if type(module).__module__.startswith("peft."):
            raise BaseModelError(
                f"a base model must have no PEFT layers, this {type(model).__name__} has some, such as "
                f"{path}: load the base model again, or remove them with PEFT's unload()"
            )
    absent = [name for name, tensor in model.named_parameters() if tensor.is_meta]
    if absent:
        devices = sorted(
            {str(place) for place in getattr(model, "hf_device_map", {}).values()} & {"cpu", "disk"}
        )
        where = (
            f"offloaded to {' and '.join(devices)}"
            if devices
            else "on the device 'meta', which has no values"
        )
        raise BaseModelError(
            f"all weights of a base model must be in memory, but {len(absent)} of this "
            f"{type(model).__name__} are {where}, such as {absent[0]}: load all of it, "
            "in a smaller dtype if memory is short"
        )


def _check_generation(model: PreTrainedModel) -> None:
    """Check the settings of a generation configuration that are used, which ``transformers`` does not check.

    All others are preferences, which ``describe_generation`` resets.
    """
    config = getattr(model, "generation_config", None)
    for name, (rule, is_right) in _SETTINGS.items():
        value = getattr(config, name, None)
        if value is not None and not is_right(value):
            raise BaseModelError(
                f"generation_config.json of {type(model).__name__}: {name} must be {rule}, found "
                f"{quote(value, 60)}: correct it, or remove it from the file"
            )


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) <= _LARGEST


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value >= 1


def _are_tokens(value: Any) -> bool:
    return all(map(_is_whole, value)) if isinstance(value, list | tuple) else _is_whole(value)


_LARGEST = 2**31 - 1
# Setting -> what it must be, and whether a value is that.
_SETTINGS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(
        ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id"),
        ("a token id or a list of them", _are_tokens),
    ),
    **dict.fromkeys(
        (
            *("use_cache", "disable_compile", "low_memory", "output_scores", "output_logits"),
            *("output_attentions", "output_hidden_states", "return_dict_in_generate"),
        ),
        ("true or false", lambda value: isinstance(value, bool)),
    ),
    **dict.fromkeys(
        ("prefill_chunk_size", "max_cache_len"),
        ("a whole number from 1", _is_count),
    ),
    "cache_implementation": ("a name", lambda value: isinstance(value, str)),
    "cache_config": ("a mapping", lambda value: isinstance(value, Mapping)),
}
