"""Estimate the cost of a protocol from the numbers in its file; nothing is loaded.

N parameters of the base model, W inputs and outputs of all layers that experts change, R rank.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lorary.cli.protocols.protocol import BaseSizes, Scale
from lorary.cli.protocols.resolve import ReadyStage

# Operations per token and parameter: reading; reading and gradients of what goes through frozen weights.
READ, TRAIN = 2, 4
# As in lorary.training.memory: values, gradients, those of one pass, and AdamW's two moments, in float32.
ROWS, NUMBER_BYTES = 5, 4
# Bytes of activations per token, block and unit of width that a gradient needs (arXiv:2205.05198).
ACTIVATIONS = 34
TOKENS_PER_PASS = 2048


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """The cost of a stage."""

    train_tokens: float
    """Tokens that experts are trained on."""
    read_tokens: float
    """Tokens that are only read."""
    hours: float
    """Hours on the device."""
    memory: float
    """Maximum bytes of the device's memory."""
    disk: float
    """Bytes that are written."""


def plan_stage(stage: ReadyStage, scale: Scale, tflops: float | None = None) -> StagePlan:
    """Estimate a stage.

    Args:
        stage: the stage.
        scale: the scale, with the sizes of the base model.
        tflops: speed of the device; None for the scale's.
    """
    sizes = scale.sizes
    train, read = stage.cost.get("train", {}), stage.cost.get("read", {})
    train_tokens = _count_train_tokens(train)
    read_tokens = read["items"] * read["tokens"] * read.get("routes", 1) if read else 0.0
    operations = sizes.parameters * (TRAIN * train_tokens + READ * read_tokens)
    expert = train.get("rank", 0) * sizes.width * NUMBER_BYTES
    slots = min(train.get("slots", 8), train.get("experts", 0))
    return StagePlan(
        train_tokens=train_tokens,
        read_tokens=read_tokens,
        hours=operations / ((tflops or scale.tflops) * 1e12) / 3600,
        memory=_estimate_memory(sizes, expert, slots) if train or read else 0.0,
        # The run's folder keeps a copy of each expert, and states of those in training.
        disk=expert * (2 * train.get("experts", 0) + 3 * slots),
    )


def _count_train_tokens(train: Mapping[str, float]) -> float:
    if not train:
        return 0.0
    if "steps" in train:
        examples = train["steps"] * train.get("batch_size", 8)
    else:
        examples = train.get("examples", 0) * train.get("epochs", 1)
    return train["experts"] * examples * train["tokens"]


def _estimate_memory(sizes: BaseSizes, expert: float, slots: float) -> float:
    activations = ACTIVATIONS * TOKENS_PER_PASS * sizes.hidden * sizes.layers if slots else 0
    return sizes.parameters * sizes.bytes + ROWS * slots * expert + activations
