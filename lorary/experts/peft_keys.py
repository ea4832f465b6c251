"""Names of the tensors in ``adapter_model.safetensors``."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.factors import Factors
from lorary.experts.stacked_parameters import INNER, group_entries, join_entries, read_entry
from lorary.files import quote

PREFIX = "base_model.model."
FACTOR_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# VeLoRA's projection is used only in the backward pass.
TRAINING_ONLY = re.compile(r"\.lora_velora_embed$")
# A module's path: its parts are attribute names.
MODULE_PATH = re.compile(r"[^.\s]+(\.[^.\s]+)*")
MAX_PATH = 500
# Names of wrapper modules of training, which are part of tensor names if the adapter is saved within them.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def name_tensors(factors: Mapping[str, Factors]) -> dict[str, Tensor]:
    """Return all factors by PEFT's names: ``<prefix><module>.lora_A.weight`` is ``a``, ``lora_B`` ``b``.

    Those of a stacked parameter's sub-layers are joined to one pair.
    """
    pairs = {module: pair for module, pair in factors.items() if read_entry(module) is None}
    for module, parameters in group_entries(factors).items():
        for depth, entries in enumerate(parameters.values()):
            pairs[module + INNER * depth] = join_entries(entries)
    named = {}
    for module, (a, b) in pairs.items():
        named[f"{PREFIX}{module}.lora_A.weight"] = a
        named[f"{PREFIX}{module}.lora_B.weight"] = b
    return named


def unwrap_name(name: str) -> str:
    """Remove wrappers, such as those of torch.compile and FSDP, from a tensor's name.

    Models have no modules of these names. ``module.`` of distributed training, and a second prefix of PEFT
    from a model that was wrapped twice, are removed only at the beginning.
    """
    parts = [part for part in name.split(".") if part not in WRAPPERS]
    while parts[:1] == ["module"]:
        parts = parts[1:]
    while parts[:4] == ["base_model", "model", "base_model", "model"]:
        parts = parts[2:]
    return ".".join(parts)


def pair_tensors(names: Iterable[str], path: str, has_others: bool = False) -> dict[str, tuple[str, str]]:
    """Find the factors of each module by the names of a file's tensors.

    Args:
        names: all names in the file.
        path: path of the file, for messages.
        has_others: whether the file has other tensors, so that it needs no factors.

    Returns:
        Module path -> names of its ``lora_A`` and ``lora_B``.

    Raises:
        FormatError: if there are none and none other, a name is unknown, or one of a pair is missing.
    """
    sides: dict[str, dict[str, str]] = {}
    unknown = []
    for name in names:
        match = FACTOR_NAME.fullmatch(unwrap_name(name))
        if match and is_module_path(match["module"]):
            pair = sides.setdefault(match["module"], {})
            if match["side"] in pair:
                raise FormatError(
                    f"{quote(path)} must have each module's factors once, found "
                    f"{quote(pair[match['side']], 100)} and {quote(name, 100)} of one module: save the "
                    "adapter again"
                )
            pair[match["side"]] = name
        elif not TRAINING_ONLY.search(name):
            unknown.append(quote(name, 100))
    if unknown:
        raise FormatError(
            f"{quote(path)} must have only tensors with names {PREFIX}<module>.lora_A.weight and "
            f"…lora_B.weight, found {_list_some(unknown)}: save the adapter again with PEFT's save_pretrained"
        )
    if not sides and not has_others:
        raise FormatError(
            f"{quote(path)} must have LoRA factors, found no tensor: train or save the adapter again"
        )
    halves = [
        f"lora_{'A' if 'A' in pair else 'B'} of {quote(module, 100)}"
        for module, pair in sides.items()
        if len(pair) < 2
    ]
    if halves:
        raise FormatError(
            f"{quote(path)} must have lora_A and lora_B of each module, found only {_list_some(halves)}: "
            "save or download the adapter again"
        )
    return {module: (pair["A"], pair["B"]) for module, pair in sides.items()}


def is_module_path(text: str) -> bool:
    """Return whether a text can be a module's path: printable parts that are not empty, separated by dots."""
    return len(text) <= MAX_PATH and text.isprintable() and MODULE_PATH.fullmatch(text) is not None


def _list_some(items: list[str]) -> str:
    shown = ", ".join(items[:3])
    return shown + (f" and {len(items) - 3} more" if len(items) > 3 else "")
