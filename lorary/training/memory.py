"""The memory that a training needs in addition to the base model, compared with the free memory at its start.

S slots, P parameters of an expert, R rank, T tokens of a pass.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from lorary.errors import TrainingError
from lorary.models import layer_shape
from lorary.models.layers import BaseLayer
from lorary.training.config import TrainConfig

NUMBER_BYTES = 4  # everything is float32
# Values, gradients, those of one pass, and AdamW's two moments.
ROWS = 5
# The folders of a container's limit in cgroup 2 and 1: limit, use, and the word before the bytes of cached
# files, which count as used but can be freed.
CONTAINERS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
MEMORY_FILE = "/proc/meminfo"


class TrainingBytes(NamedTuple):
    """An estimate of the memory of a training, without the base model and its activations."""

    on_device: int
    """Factors, gradients, optimiser states, and readings ``a x`` of one pass, on the base model's device."""
    on_host: int
    """The saved state while it is written, in the machine's memory."""


def estimate_bytes(layers: Mapping[str, BaseLayer], config: TrainConfig, num_experts: int) -> TrainingBytes:
    """Estimate the memory of a training.

    Args:
        layers: the layers in training.
        config: the configuration.
        num_experts: number of all experts of the run.
    """
    slots = min(config.num_slots, num_experts)
    parameters = config.rank * sum(sum(layer_shape(layer)) for layer in layers.values())
    row = NUMBER_BYTES * slots * parameters
    best = row if config.validate_every is not None else 0
    depth = 1 if config.gradient_checkpointing else len(layers)
    readings = NUMBER_BYTES * config.tokens_per_pass * config.rank * depth
    return TrainingBytes(ROWS * row + best + readings, 3 * row + best)


def check_memory(
    device: torch.device,
    layers: Mapping[str, BaseLayer],
    config: TrainConfig,
    num_experts: int,
    number: str = "num_slots",
) -> TrainingBytes:
    """Refuse a training that does not fit into the free memory.

    Args:
        device: the base model's.
        layers: the layers in training.
        config: the configuration.
        num_experts: number of all experts of the run.
        number: what to call the number of experts that are in training at a time.

    Returns:
        The estimate.

    Raises:
        TrainingError: if it needs more than is free; the message says what to lower.
    """
    needed = estimate_bytes(layers, config, num_experts)
    is_host = device.type == "cpu"
    places = {
        "memory": (needed.on_host + (needed.on_device if is_host else 0), find_free_bytes()),
        f"memory of {device}": (
            0 if is_host else needed.on_device,
            None if is_host else _find_free_on(device),
        ),
    }
    for what, (num_bytes, free) in places.items():
        if free is not None and num_bytes > free:
            slots = min(config.num_slots, num_experts)
            rank = max(1, int(config.rank * free / num_bytes))
            fewer = f" or {number} (now {slots} at a time)" if slots > 1 else ""
            raise TrainingError(
                f"the training needs about {say_gigabytes(num_bytes)} of {what} in addition to the base "
                f"model, for factors of rank {config.rank}, gradients and AdamW's states of {slots} at a "
                f"time, and {say_gigabytes(free)} are free: lower rank (to at most about {rank}){fewer}"
            )
    return needed


def say_gigabytes(num_bytes: int) -> str:
    """Write a size, such as ``85 MB`` or ``61.0 GB``."""
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{max(1, round(num_bytes / 1e6))} MB"


def find_free_bytes() -> int | None:
    """Return the memory that a process can still take, also within a container; None if it is not known."""
    found = [
        free
        for free in (_read_available(), *(_read_container(*place) for place in CONTAINERS))
        if free is not None
    ]
    return min(found) if found else None


def _read_available() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path(MEMORY_FILE).read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _read_container(folder: str, limit_file: str, used_file: str, cached: str) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        # Without a limit, the file of cgroup 2 has the word "max".
        limit, used = (
            int((Path(folder) / file).read_text(encoding="ascii")) for file in (limit_file, used_file)
        )
        for line in (Path(folder) / "memory.stat").read_text(encoding="ascii").splitlines():
            if line.split()[0] == cached:
                return max(0, limit - used + int(line.split()[1]))
    return None


def _find_free_on(device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # Memory in PyTorch's cache can be used again.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
