"""Which loaded models experts can be put on: whole, plain ``transformers`` models."""

from numbers import Integral
from typing import Any

from transformers import PreTrainedModel

from lorary.errors import BaseModelError
from lorary.files import quote


def check_usable(model: Any) -> None:
    """Refuse a model that is wrapped, changed or not there, before anything is done with it.

    Raises:
        BaseModelError: saying what it is and what to give instead.
    """
    # By its attribute: importing torch._dynamo for its class takes a second.
    if hasattr(model, "_orig_mod"):
        raise BaseModelError(
            "the base model was compiled by torch.compile, and its steps would not see experts: give the "
            "model itself (model._orig_mod); generate(compile=True) compiles what needs it"
        )
    kind = type(model)
    if not isinstance(model, PreTrainedModel):
        advice = (
            ": give model.merge_and_unload() or model.unload()" if kind.__module__.startswith("peft.") else ""
        )
        raise BaseModelError(f"a base model must be a transformers model, found {kind.__name__}{advice}")
    _check_layers(model)
    _check_generation(model)


def _check_layers(model: PreTrainedModel) -> None:
    for path, module in model.named_modules():
        if type(module).__module__.startswith("peft."):
            raise BaseModelError(
                f"this {type(model).__name__} carries PEFT layers already, such as {path}: its answers are "
                "not those of the base model. Load the base model anew, or take them off with PEFT's unload()"
            )
    absent = [name for name, tensor in model.named_parameters() if tensor.is_meta]
    if absent:
        devices = sorted(
            {str(place) for place in getattr(model, "hf_device_map", {}).values()} & {"cpu", "disk"}
        )
        where = (
            f"offloaded to {' and '.join(devices)}"
            if devices
            else "on the device 'meta', which holds no numbers"
        )
        raise BaseModelError(
            f"{len(absent)} weights of this {type(model).__name__} are {where}, such as {absent[0]}: load it "
            "whole, in a smaller dtype if memory is short"
        )


def _check_generation(model: PreTrainedModel) -> None:
    """Look at what every answer needs of the generation configuration, which no one checks on reading."""
    config = getattr(model, "generation_config", None)
    for name in ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id"):
        value = getattr(config, name, None)
        several = value if isinstance(value, list | tuple) else [value]
        if value is not None and not all(
            isinstance(each, Integral) and not isinstance(each, bool) for each in several
        ):
            raise BaseModelError(
                f"generation_config.json of {type(model).__name__}: {name} must be a token id or a list of "
                f"them, found {quote(value, 60)}"
            )
    for name, kind in (("use_cache", bool), ("cache_implementation", str)):
        value = getattr(config, name, None)
        if value is not None and not isinstance(value, kind):
            raise BaseModelError(
                f"generation_config.json of {type(model).__name__}: {name} must be a {kind.__name__}, "
                f"found {quote(value, 60)}"
            )
