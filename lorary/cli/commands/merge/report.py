"""What ``lorary merge`` says before and after."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from lorary.experts import Expert
from lorary.files import say_count
from lorary.transforms import MergeRecipe
from lorary.transforms.merging import MergePlan

NUM_NAMES = 6


def describe_plan(plan: MergePlan, recipe: MergeRecipe) -> Iterator[tuple[str, str]]:
    """Say what will be merged and what it takes, a label and a text per line."""
    shown = ", ".join(plan.names[:NUM_NAMES]) + (", …" if len(plan.names) > NUM_NAMES else "")
    yield "experts", f"{len(plan.names):,}: {shown}; for {plan.base_model or 'a base model not named'}"
    options = ", ".join(f"{name} {value}" for name, value in recipe.parameters.items())
    yield "method", f"{plan.method} on {plan.space}" + (f", {options}" if options else "")
    if plan.num_blocks is not None:
        yield "blocks", f"{plan.num_blocks:,}, over which lists of values run"
    for sentence in plan.ignored:
        yield "ignored", sentence
    ranks = sorted({layer.rank for layer in plan.layers})
    size = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    at_most = "at most " if str(recipe.rank).endswith("%") else ""
    yield "layers", f"{len(plan.layers):,}, merged to rank {at_most}{size}, {say_bytes(plan.result_bytes)}"
    rounds = "once" if plan.num_rounds == 1 else f"in {plan.num_rounds} rounds"
    yield "reads", f"{say_bytes(plan.expert_bytes)} of factors, every expert {rounds}"
    yield "needs", f"about {say_bytes(plan.peak_bytes)} of memory and {say_seconds(plan.seconds)}"


def summarize_plan(plan: MergePlan) -> dict[str, Any]:
    """Put a plan into JSON values."""
    return {**asdict(plan), "seconds": round(plan.seconds, 2)}


def summarize_merge(expert: Expert, seconds: float) -> dict[str, Any]:
    """Put a merged expert's size and losses into JSON values."""
    errors = expert.card.provenance["truncation_error"]
    return {
        "expert": expert.name,
        "parents": list(expert.card.parents),
        "layers": len(expert.factors),
        "rank": expert.max_rank,
        "parameters": expert.num_parameters,
        "seconds": round(seconds, 2),
        "truncation_error": errors,
    }


def describe_merge(expert: Expert, where: str, seconds: float) -> Iterator[str]:
    """Say what came out, a line each."""
    errors = expert.card.provenance["truncation_error"]
    worst = max(errors, key=lambda path: errors[path])
    yield (
        f"merged {say_count(len(expert.card.parents), 'expert')} into {where} in {say_seconds(seconds)}: "
        f"rank {expert.max_rank}, {expert.num_parameters:,} parameters"
    )
    if errors[worst] == 0:
        yield "nothing was cut off: every layer is the exact merge"
        return
    mean = sum(errors.values()) / len(errors)
    yield (
        f"cutting to that rank lost {mean:.0%} of a layer's norm in the mean, {errors[worst]:.0%} at most, "
        f"in {worst}; --rank 99% would keep more"
    )


def say_bytes(number: int) -> str:
    """Write a size for people: ``12 MB``, ``3.4 GB``."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(1, round(number / 1e6)):,} MB"


def say_seconds(seconds: float) -> str:
    """Write a time for people: ``3 s``, ``12 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
