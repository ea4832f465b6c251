"""Reading PEFT's Poly folders as skills and their table.

PEFT adds ``x A_t B_t / r`` for a task t, with factors ``[Q, S, …]`` mixed as in ``mixing``.

S skills, Q splits, R rank, I layer input, O layer output.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fsspec.core import url_to_fs
from torch import Tensor

from lorary.errors import FormatError, UnsupportedAdapter
from lorary.experts.card import ExpertCard
from lorary.experts.expert import Expert
from lorary.experts.factors import DTYPES, Factors, is_finite, name_dtypes
from lorary.experts.peft_config import CONFIG_FILE, AdapterConfig, parse_adapter_config
from lorary.experts.peft_keys import PREFIX, is_module_path
from lorary.experts.peft_reader import open_adapter
from lorary.experts.skills.skill_set import SkillSet
from lorary.experts.skills.task_table import TaskTable
from lorary.files import parse_json_object, quote, say_count

PARTS = ("poly_lora_A", "poly_lora_B", "poly_router.module_logits")
SIZES = ("n_tasks", "n_skills", "n_splits", "r")
MOST_NAMED = 3  # tensors in one message


def read_poly(
    folder: str | os.PathLike[str], *, tasks: Sequence[str] | None = None, name: str | None = None
) -> SkillSet:
    """Read a folder of PEFT's Poly (Polytropon, MHR) as skills and their table.

    Args:
        folder: a path or URL.
        tasks: names of the tasks, in the order of PEFT's task ids; None for ``task-0``, ``task-1``, ….
        name: the skills are ``<name>-0``, ``<name>-1``, …; None for the folder's name.

    Returns:
        The skills, with PEFT's factor 1/r folded into each ``b``, and the table, with rows for each linear
        layer.

    Raises:
        FormatError: if a file is missing or damaged, or tensors and configuration disagree.
        UnsupportedAdapter: if the folder has an adapter of another type, or additional weights.
        ValueError: if the tasks have another number than the table's rows, or a name is not safe.
    """
    fs, path = url_to_fs(os.fspath(folder))
    opened = open_adapter(fs, path)
    raw = parse_json_object(opened.config, f"{path}/{CONFIG_FILE}")
    sizes = _read_sizes(raw, path)
    layers = _group_tensors(opened.weights.tensors, path)
    _check_shapes(layers, sizes, path)
    num_tasks, num_skills, num_splits, _ = sizes
    if tasks is not None and len(tasks) != num_tasks:
        raise ValueError(
            f"tasks of Poly adapter {quote(path)} must be {say_count(num_tasks, 'name')}, found {len(tasks)}"
        )
    table = TaskTable(
        tasks=tuple(tasks or (f"task-{number}" for number in range(num_tasks))),
        logits={module: parts[PARTS[2]] for module, parts in layers.items()},
        num_skills=num_skills,
        num_splits=num_splits,
    )
    config = parse_adapter_config(raw, f"{path}/{CONFIG_FILE}")
    own_name = name or path.rstrip("/").rsplit("/", 1)[-1]
    return SkillSet([_build_skill(layers, skill, own_name, config) for skill in range(num_skills)], table)


def _read_sizes(raw: Mapping[str, Any], path: str) -> tuple[int, int, int, int]:
    kind, variant = raw.get("peft_type"), raw.get("poly_type", "poly")
    if kind != "POLY" or variant != "poly":
        raise UnsupportedAdapter(
            f"{quote(path)} must be of peft_type 'POLY' and poly_type 'poly', found {quote(kind, 60)} and "
            f"{quote(variant, 60)}: read a LoRA adapter with read_peft"
        )
    if raw.get("modules_to_save"):
        raise UnsupportedAdapter(
            f"{quote(path)} must have no modules_to_save, which skills cannot represent, found "
            f"{quote(raw['modules_to_save'], 60)}: train without it"
        )
    sizes = [raw.get(key) for key in SIZES]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise FormatError(
            f"{quote(path)}: {', '.join(SIZES)} must be whole numbers from 1, found {quote(sizes)}"
        )
    num_tasks, num_skills, num_splits, rank = (int(size) for size in sizes if size is not None)
    return num_tasks, num_skills, num_splits, rank


def _group_tensors(tensors: Mapping[str, Tensor], path: str) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each module, by module and by part."""
    layers: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for name, tensor in tensors.items():
        part = next((part for part in PARTS if name.endswith(f".{part}")), None)
        module = name.removeprefix(PREFIX).removesuffix(f".{part}")
        if part is None or not name.startswith(PREFIX) or not is_module_path(module):
            unknown.append(quote(name, 100))
        else:
            layers.setdefault(module, {})[part] = tensor
    if unknown or not layers:
        shown = ", ".join(unknown[:MOST_NAMED]) or "no tensors"
        raise FormatError(f"{quote(path)} must have the tensors of Poly layers only, found {shown}")
    return layers


def _check_shapes(
    layers: Mapping[str, Mapping[str, Tensor]], sizes: tuple[int, int, int, int], path: str
) -> None:
    faults = [fault for module, parts in layers.items() for fault in _find_faults(module, parts, sizes)]
    if faults:
        more = f" and {len(faults) - MOST_NAMED} more" if len(faults) > MOST_NAMED else ""
        raise FormatError(
            f"{quote(path)}: tensors must have the shapes of its configuration, {', '.join(SIZES)} = "
            f"{list(sizes)}: {'; '.join(faults[:MOST_NAMED])}{more}"
        )


def _find_faults(module: str, parts: Mapping[str, Tensor], sizes: tuple[int, int, int, int]) -> Iterator[str]:
    num_tasks, num_skills, num_splits, rank = sizes
    wanted = (
        (num_splits, num_skills, None, rank),
        (num_splits, num_skills, rank, None),
        (num_tasks, num_splits * num_skills),
    )
    for part, shape in zip(PARTS, wanted, strict=True):
        shown = ["any" if size is None else size for size in shape]
        tensor = parts.get(part)
        if tensor is None or not _has_shape(tensor, shape):
            found = "none" if tensor is None else list(tensor.shape)
            yield f"{part} of {quote(module, 100)} must be {shown}, found {found}"
        elif tensor.dtype not in DTYPES or not is_finite(tensor):
            yield f"{part} of {quote(module, 100)} must have finite numbers of {name_dtypes()}, found others"


def _has_shape(tensor: Tensor, shape: tuple[int | None, ...]) -> bool:
    return (
        tensor.dim() == len(shape)
        and tensor.numel() > 0
        and all(size in (None, own) for size, own in zip(shape, tensor.shape, strict=True))
    )


def _build_skill(
    layers: Mapping[str, Mapping[str, Tensor]], skill: int, name: str, config: AdapterConfig
) -> Expert:
    factors = {}
    for module, parts in layers.items():
        down, up = parts[PARTS[0]][:, skill], parts[PARTS[1]][:, skill]  # [Q, I/Q, R], [Q, R, O/Q]
        rank = down.shape[-1]
        # Division by a power of two is exact in every dtype.
        up = up if rank & (rank - 1) == 0 else up.float()
        b = up.transpose(1, 2).flatten(0, 1) / rank
        factors[module] = Factors(down.flatten(0, 1).T.contiguous(), b.contiguous())
    card = ExpertCard(base_revision=config.revision, task_type=config.task_type)
    return Expert(f"{name}-{skill}", config.base_model, factors, card)
