"""Writing experts as PEFT adapter folders."""

import hashlib
import os
import re
from dataclasses import replace
from typing import Any

import torch
from fsspec.core import url_to_fs
from torch import Tensor

from lorary.experts.expert import Expert, check_finite
from lorary.experts.folder import CARD_FILE, replace_folder
from lorary.experts.model_card import render_model_card
from lorary.experts.parts.configuring import configure_parts
from lorary.experts.parts.pairing import find_unpaired
from lorary.experts.peft_config import CONFIG_FILE
from lorary.experts.peft_keys import name_tensors
from lorary.experts.sidecar import SIDECAR_FILE, build_sidecar
from lorary.experts.stacked_parameters import even_ranks, list_parameter_ranks, read_entry
from lorary.experts.weights_file import WEIGHTS_FILE, dump_tensors
from lorary.files import dump_json


def write_peft(expert: Expert, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
    """Write an expert as a folder that PEFT loads with equal logits.

    A local folder is written completely or not at all. An existing folder is replaced if it has only an
    adapter's files.

    Args:
        expert: the expert to write.
        folder: a path, or a URL for fsspec; missing folders are created.
        dtype: dtype of the weights in the file; None for that of each factor.

    Raises:
        FormatError: if a weight is NaN or infinite (in ``dtype``), or the folder has other files.
    """
    fs, path = url_to_fs(os.fspath(folder))
    replace_folder(fs, path, write_expert_files(expert, dtype))


def write_expert_files(expert: Expert, dtype: torch.dtype | None = None) -> dict[str, bytes]:
    """Build the files of an expert's folder in memory.

    Args:
        expert: the expert to write.
        dtype: dtype of the weights in the file; None for that of each factor.

    Returns:
        File name -> content, with the configuration last: if files are written in this order, a folder with a
        configuration is complete. Equal experts have equal bytes.

    Raises:
        FormatError: if a weight is NaN or infinite (in ``dtype``).
    """
    if dtype is not None:
        expert = expert.to(dtype)
    check_finite(expert)
    if (even := even_ranks(expert.factors)) is not expert.factors:
        expert = replace(expert, factors=even)
    weights = dump_tensors(name_tensors(expert.factors) | name_parts(expert))
    config = dump_json(build_adapter_config(expert)).encode()
    hashes = [hashlib.sha256(content).hexdigest() for content in (weights, config)]
    return {
        WEIGHTS_FILE: weights,
        SIDECAR_FILE: dump_json(build_sidecar(expert, *hashes)).encode(),
        CARD_FILE: render_model_card(expert).encode(),
        CONFIG_FILE: config,
    }


def name_parts(expert: Expert) -> dict[str, Tensor]:
    """Return the tensors of an expert's parts by PEFT's names."""
    targets = expert.factors.keys() | {
        path for path, own in expert.parts.items() if any(part.kind == "embedding" for part in own)
    }
    return {
        name: tensor
        for path, own in expert.parts.items()
        for part in own
        for name, tensor in part.name_tensors(path, path in targets).items()
    }


def build_adapter_config(expert: Expert) -> dict[str, Any]:
    """Build the object of ``adapter_config.json``, with scale 1 and full paths of all modules.

    Args:
        expert: the expert.

    Raises:
        ValueError: if PEFT has no type of adapters with all of its kinds, or would use others of them.
    """
    kinds = {path: [part.kind for part in own] for path, own in expert.part_outlines.items()}
    if kinds and (fault := find_unpaired(expert.outlines, kinds)) is not None:
        raise ValueError(
            f"expert {expert.name!r} cannot be written as a PEFT adapter: it {fault}: fold it into its base "
            "model"
        )
    settings = configure_parts(expert.name, expert.parts, has_factors=bool(expert.factors))
    common = {
        "peft_type": settings.pop("peft_type"),
        "task_type": expert.card.task_type,
        "base_model_name_or_path": expert.base_model or None,
        "revision": expert.card.base_revision,
        "inference_mode": True,
    }
    if common["peft_type"] != "LORA":
        return {**common, **settings, **_configure_layers(expert, common["peft_type"])}
    own = expert.ranks | settings.pop("ranks", {})
    rank = max(own.values())
    layers = [path for path in own if read_entry(path) is None]
    parameters = list_parameter_ranks(expert.ranks)
    ranks = {path: own[path] for path in layers} | parameters
    # PEFT's keys are regular expressions that can match the end of a path, unless they begin with ^.
    pattern = {f"^{re.escape(path)}": own for path, own in ranks.items() if own != rank}
    return {
        **common,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "use_rslora": False,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": expert.card.fan_in_fan_out,
        "init_lora_weights": True,
        "target_modules": layers,
        **({"target_parameters": list(parameters)} if parameters else {}),
        "exclude_modules": exclude_namesakes(expert),
        **{key: value for key, value in settings.items() if key != "target_modules"},
    }


def _configure_layers(expert: Expert, peft_type: str) -> dict[str, Any]:
    """Return the settings about base layers that IA3 needs; other types detect them."""
    return {"fan_in_fan_out": expert.card.fan_in_fan_out} if peft_type == "IA3" else {}


def exclude_namesakes(expert: Expert) -> str | None:
    """Return PEFT's ``exclude_modules``, so that a top-level ``lm_head`` does not also match ``x.lm_head``.

    PEFT's targets also match the end of a path. Longer paths need no exclusion: a base model would have to
    repeat them, and PEFT would add a zero adapter there, with a warning and without effect.
    """
    tops = [re.escape(path) for path in expert.factors if "." not in path]
    if not tops:
        return None
    own = [re.escape(path) for path in expert.factors if "." in path]
    spared = rf"(?!(?:{'|'.join(own)})$)" if own else ""
    return rf"{spared}.+\.(?:{'|'.join(tops)})"
