"""Names of the tensors in ``adapter_model.safetensors``."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.factors import Factors
from lorary.files import quote

PREFIX = "base_model.model."
FACTOR_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# VeLoRA's projection only shapes its backward pass.
TRAINING_ONLY = re.compile(r"\.lora_velora_embed$")
# A module's path in any model there is: its parts become attribute names.
MODULE_PATH = re.compile(r"[^.\s]+(\.[^.\s]+)*")
MAX_PATH = 500
# What wraps a module while it is trained, and stays in the names of tensors that are saved within it.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def name_tensors(factors: Mapping[str, Factors]) -> dict[str, Tensor]:
    """Give each factor the name PEFT looks for: ``<prefix><module>.lora_A.weight`` is ``a``."""
    named = {}
    for module, (a, b) in factors.items():
        named[f"{PREFIX}{module}.lora_A.weight"] = a
        named[f"{PREFIX}{module}.lora_B.weight"] = b
    return named


def unwrap_name(name: str) -> str:
    """Give a tensor the name that PEFT gives it outside of wrappers such as those of torch.compile and FSDP.

    No model calls its own modules so. ``module.`` of distributed training, and PEFT's own prefix where a
    wrapped model was wrapped again, count at the beginning alone.
    """
    parts = [part for part in name.split(".") if part not in WRAPPERS]
    while parts[:1] == ["module"]:
        parts = parts[1:]
    while parts[:4] == ["base_model", "model", "base_model", "model"]:
        parts = parts[2:]
    return ".".join(parts)


def pair_tensors(names: Iterable[str], path: str) -> dict[str, tuple[str, str]]:
    """Find out from a file's tensor names which modules have factors.

    Args:
        names: all names in the file.
        path: the file, for messages.

    Returns:
        Module path -> names of its ``lora_A`` and ``lora_B``.

    Raises:
        FormatError: if there are none, a name means nothing, or one of a pair is missing.
    """
    sides: dict[str, dict[str, str]] = {}
    unknown = []
    for name in names:
        match = FACTOR_NAME.fullmatch(unwrap_name(name))
        if match and is_module_path(match["module"]):
            pair = sides.setdefault(match["module"], {})
            if match["side"] in pair:
                raise FormatError(
                    f"{quote(path)} must hold each module's factors once, found "
                    f"{quote(pair[match['side']], 100)} and {quote(name, 100)}, which are of one module: "
                    "save the adapter again"
                )
            pair[match["side"]] = name
        elif not TRAINING_ONLY.search(name):
            unknown.append(quote(name, 100))
    if unknown:
        raise FormatError(
            f"{quote(path)} must hold only tensors named {PREFIX}<module>.lora_A.weight and …lora_B.weight, "
            f"found {_list_some(unknown)}: save the adapter again with PEFT's save_pretrained"
        )
    if not sides:
        raise FormatError(
            f"{quote(path)} must hold LoRA factors, found no tensor: train or save the adapter again"
        )
    halves = [
        f"lora_{'A' if 'A' in pair else 'B'} of {quote(module, 100)}"
        for module, pair in sides.items()
        if len(pair) < 2
    ]
    if halves:
        raise FormatError(
            f"{quote(path)} must hold lora_A and lora_B of each module, found only {_list_some(halves)}: "
            "save or fetch the adapter again"
        )
    return {module: (pair["A"], pair["B"]) for module, pair in sides.items()}


def is_module_path(text: str) -> bool:
    """Tell whether a text can be a module's path: printable parts, none of them empty, between dots."""
    return len(text) <= MAX_PATH and text.isprintable() and MODULE_PATH.fullmatch(text) is not None


def _list_some(items: list[str]) -> str:
    shown = ", ".join(items[:3])
    return shown + (f" and {len(items) - 3} more" if len(items) > 3 else "")
