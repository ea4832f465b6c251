"""Experts in, PEFT adapter folders out."""

import hashlib
import os
import re
from typing import Any

import torch
from fsspec.core import url_to_fs

from lorary.experts.expert import Expert, check_finite
from lorary.experts.folder import CARD_FILE, replace_folder
from lorary.experts.model_card import render_model_card
from lorary.experts.peft_config import CONFIG_FILE
from lorary.experts.peft_keys import name_tensors
from lorary.experts.sidecar import SIDECAR_FILE, build_sidecar
from lorary.experts.weights_file import WEIGHTS_FILE, dump_tensors
from lorary.files import dump_json


def write_peft(expert: Expert, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
    """Write an expert as a folder that PEFT loads with equal logits.

    A local folder appears whole or not at all. One that is there is replaced if it holds an adapter
    and nothing else.

    Args:
        expert: the expert to write.
        folder: a path, or a URL fsspec understands; made with its parents where missing.
        dtype: the weights' dtype on disk; None keeps each factor's own.

    Raises:
        FormatError: if a weight is not finite (in that dtype), or the folder holds something else.
    """
    fs, path = url_to_fs(os.fspath(folder))
    replace_folder(fs, path, write_expert_files(expert, dtype))


def write_expert_files(expert: Expert, dtype: torch.dtype | None = None) -> dict[str, bytes]:
    """Build the files of an expert's folder in memory.

    Args:
        expert: the expert to write.
        dtype: the weights' dtype in the file; None keeps each factor's own.

    Returns:
        File name -> content, the configuration last: written in this order, a folder with a
        configuration is complete. The same expert gives the same bytes.

    Raises:
        FormatError: if a weight is not finite (in that dtype).
    """
    if dtype is not None:
        expert = expert.to(dtype)
    check_finite(expert)
    weights = dump_tensors(name_tensors(expert.factors))
    config = dump_json(build_adapter_config(expert)).encode()
    hashes = [hashlib.sha256(content).hexdigest() for content in (weights, config)]
    return {
        WEIGHTS_FILE: weights,
        SIDECAR_FILE: dump_json(build_sidecar(expert, *hashes)).encode(),
        CARD_FILE: render_model_card(expert).encode(),
        CONFIG_FILE: config,
    }


def build_adapter_config(expert: Expert) -> dict[str, Any]:
    """Build the object of ``adapter_config.json``: every scale is 1, every module named in full.

    Args:
        expert: the expert to describe.
    """
    rank = expert.max_rank
    # PEFT takes keys as regular expressions that may match just the end of a path, unless they begin with ^.
    pattern = {f"^{re.escape(path)}": own for path, own in expert.ranks.items() if own != rank}
    return {
        "peft_type": "LORA",
        "task_type": expert.card.task_type,
        "base_model_name_or_path": expert.base_model or None,
        "revision": expert.card.base_revision,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "use_rslora": False,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": expert.card.fan_in_fan_out,
        "init_lora_weights": True,
        "target_modules": list(expert.factors),
        "exclude_modules": exclude_namesakes(expert),
    }


def exclude_namesakes(expert: Expert) -> str | None:
    """Keep PEFT from matching ``x.lm_head`` where the expert names the top-level ``lm_head``.

    PEFT takes a target for the end of a path too. A longer path would need a base model that repeats it
    whole inside itself; there PEFT would add a zero adapter, with a warning and without effect.
    """
    tops = [re.escape(path) for path in expert.factors if "." not in path]
    if not tops:
        return None
    own = [re.escape(path) for path in expert.factors if "." in path]
    spared = rf"(?!(?:{'|'.join(own)})$)" if own else ""
    return rf"{spared}.+\.(?:{'|'.join(tops)})"
