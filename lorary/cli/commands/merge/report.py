"""Describe the plan and the outcome of a merge."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from lorary.experts import Expert
from lorary.files import say_count
from lorary.transforms import MergeRecipe
from lorary.transforms.merging import MergePlan
from lorary.transforms.merging.plan import ENTRIES

NUM_NAMES = 6


def describe_plan(plan: MergePlan, recipe: MergeRecipe) -> Iterator[tuple[str, str]]:
    """Describe what will be merged and the resources needed, as pairs of label and text."""
    shown = ", ".join(plan.names[:NUM_NAMES]) + (", …" if len(plan.names) > NUM_NAMES else "")
    yield "experts", f"{len(plan.names):,}: {shown}; for {plan.base_model or 'an unknown base model'}"
    options = ", ".join(_describe_options(recipe))
    pico = "" if recipe.pico is None else f"pico ({recipe.pico}), then "
    yield "method", f"{pico}{plan.method} on {plan.space}" + (f", {options}" if options else "")
    if plan.num_blocks is not None:
        yield "blocks", f"{plan.num_blocks:,}, over which lists of values are interpolated"
    for sentence in plan.ignored:
        yield "ignored", sentence
    ranks = sorted({layer.rank for layer in plan.layers})
    size = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    at_most = "at most " if str(recipe.rank).endswith("%") else ""
    merged = "the union of entries, at most" if plan.space == ENTRIES else f"merged to rank {at_most}{size},"
    yield "layers", f"{len(plan.layers):,}, {merged} {say_bytes(plan.result_bytes)}"
    rounds = "once" if plan.num_rounds == 1 else f"in {say_count(plan.num_rounds, 'round')}"
    what = "entries" if plan.space == ENTRIES else "factors"
    yield "reads", f"{say_bytes(plan.expert_bytes)} of {what}, every expert {rounds}"
    yield "needs", f"about {say_bytes(plan.peak_bytes)} of memory and {say_seconds(plan.seconds)}"


def _describe_options(recipe: MergeRecipe) -> Iterator[str]:
    """Describe the method's options; values that differ between experts are in the experts' order."""
    own = [name for model in recipe.models for name in model.parameters]
    for name in dict.fromkeys([*recipe.parameters, *own]):
        values = [model.parameters.get(name, recipe.parameters.get(name)) for model in recipe.models]
        if all(value == values[0] for value in values):
            yield f"{name} {values[0]}"
        else:
            shown = " / ".join("default" if value is None else str(value) for value in values[:NUM_NAMES])
            yield f"{name} {shown}" + (" / …" if len(values) > NUM_NAMES else "")


def summarize_plan(plan: MergePlan) -> dict[str, Any]:
    """Describe a plan in JSON values."""
    return {**asdict(plan), "seconds": round(plan.seconds, 2)}


def summarize_merge(expert: Expert, seconds: float) -> dict[str, Any]:
    """Describe a merged expert's size and truncation errors in JSON values."""
    errors = expert.card.provenance["truncation_error"]
    return {
        "expert": expert.name,
        "parents": list(expert.card.parents),
        "layers": len(expert.paths),
        "rank": expert.max_rank,
        "parameters": expert.num_parameters,
        "seconds": round(seconds, 2),
        "truncation_error": errors,
    }


def describe_merge(expert: Expert, where: str, seconds: float) -> Iterator[str]:
    """Describe a merged expert, one line each."""
    errors = expert.card.provenance["truncation_error"]
    worst = max(errors, key=lambda path: errors[path])
    rank = f"rank {expert.max_rank}, " if expert.factors else ""
    yield (
        f"merged {say_count(len(expert.card.parents), 'expert')} into {where} in {say_seconds(seconds)}: "
        f"{rank}{say_count(expert.num_parameters, 'parameter')}"
    )
    if errors[worst] == 0:
        yield "exact: no layer was truncated"
        return
    mean = sum(errors.values()) / len(errors)
    yield (
        f"relative error of truncation to that rank: {mean:.0%} on average over layers, {errors[worst]:.0%} "
        f"at most, in {worst}; --rank 99% keeps more"
    )


def say_bytes(number: int) -> str:
    """Write a size such as ``12 MB`` or ``3.4 GB``."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(1, round(number / 1e6)):,} MB"


def say_seconds(seconds: float) -> str:
    """Write a time such as ``3 s``, ``12 min`` or ``2.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
