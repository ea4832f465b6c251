"""Preparing a merge: everything is checked and resolved before any weights are read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, ExpertCard, Factors
from lorary.experts.base_blocks import count_blocks
from lorary.files import quote, say_count
from lorary.transforms.merging.kind import MergeKind
from lorary.transforms.merging.methods.table import find_rules, merge_named
from lorary.transforms.merging.options import build_config
from lorary.transforms.merging.rank import RankRule, read_rank
from lorary.transforms.merging.recipe.ignored import join_ignored
from lorary.transforms.merging.recipe.placing import Placing, name_experts, place_models
from lorary.transforms.merging.recipe.recipe import MergeRecipe
from lorary.transforms.merging.recipe.resolve import (
    LayerSettings,
    find_idle_filters,
    follows_depth,
    resolve_recipe,
)
from lorary.transforms.merging.recipe.settings import evaluate_settings
from lorary.transforms.merging.spaces import Space
from lorary.transforms.merging.survey import LayerOutline, Survey, survey_experts


@dataclass(frozen=True, kw_only=True)
class MergeJob:
    """A checked merge of experts."""

    recipe: MergeRecipe
    """The recipe."""
    survey: Survey
    """Shapes and cards of the experts."""
    placing: Placing
    """The experts that the method merges, in its order."""
    num_blocks: int | None
    """Number of blocks over which lists of values are interpolated; None if there are no such lists, or if
    the number is only known from the experts."""
    ignored: tuple[str, ...]
    """Sentences about parts of the recipe that have no effect."""
    settings: Mapping[str, LayerSettings]
    """Weights and options of every layer."""
    kind: MergeKind
    """The method."""
    rules: MergeKind
    """The method whose properties apply: the inner method if there is one, else ``kind``."""
    space: Space
    """The space in which the method is applied."""
    rank: RankRule
    """The rank of merged layers."""
    dtype: torch.dtype | None
    """Dtype of the merged factors; None keeps that of the experts."""


def prepare_merge(
    experts: Mapping[str, Expert], recipe: MergeRecipe, shadowed: Iterable[str] = ()
) -> MergeJob:
    """Check the experts' shapes and resolve the recipe's settings for each layer.

    Args:
        experts: a library or any other mapping that has the recipe's experts.
        recipe: what to merge and how.
        shadowed: sentences from ``find_shadowed``.

    Raises:
        UnknownExpert: if there is no expert of a name.
        IncompatibleExpert: if the experts are for different base models, or for another one than the recipe,
            or have different layers or shapes.
        ValueError: if a setting is out of range in a layer, or no layer can have the rank.
    """
    recipe = name_experts(experts, recipe)
    kind = merge_named(recipe.merge_method)
    rules = find_rules(recipe.merge_method, _build_first_config(recipe, kind))
    placing = place_models(experts, recipe, rules)
    survey = survey_experts(experts, placing.names, recipe.layers)
    _check_origin(placing, kind, recipe)
    paths = [layer.path for layer in survey.layers]
    num_blocks = _find_num_blocks(recipe, survey.base_model)
    settings = resolve_recipe(recipe, paths, models=placing.models, num_blocks=num_blocks)
    idle = find_idle_filters(recipe, paths, models=placing.models, num_blocks=num_blocks)
    job = MergeJob(
        recipe=recipe,
        survey=survey,
        placing=placing,
        settings=settings,
        num_blocks=num_blocks,
        ignored=join_ignored(recipe.ignored, placing.ignored, shadowed, idle),
        kind=kind,
        rules=rules,
        space=next(space for space in kind.spaces if recipe.space in (None, space)),
        rank=read_rank(recipe.rank, rules.keeps_full_rank),
        dtype=None if recipe.dtype is None else getattr(torch, recipe.dtype),
    )
    most = max(compute_most_rank(job, layer) for layer in survey.layers)
    if job.rank.rank > most:
        raise ValueError(
            f"rank must be at most {most}, the largest rank of these experts merged by "
            f"{recipe.merge_method!r}, found {job.rank.rank}: use a lower rank or 'full'"
        )
    return job


def compute_most_rank(job: MergeJob, layer: LayerOutline) -> int:
    """Return the highest rank that a merged layer can have before truncation."""
    ranks = dict(zip(job.survey.names, layer.ranks, strict=True))
    if job.space == "factors":
        return layer.largest_rank
    # An expert without the layer is represented by zeros of rank 1.
    total = sum(max(1, ranks.get(model.model, 1)) for model in job.placing.models)
    if job.placing.origin is not None:
        # The origin is subtracted from each expert and added to the result.
        total += (len(job.placing.models) + 1) * max(1, ranks[job.placing.origin])
    narrower = min(layer.outputs, layer.inputs)
    if job.rules.entry_nanoseconds:
        return min(total, narrower) if job.space == "core" else narrower
    return total


def _build_first_config(recipe: MergeRecipe, kind: MergeKind) -> Any:
    """Build the method's configuration from options that are the same for all layers, to find its rules."""
    options = evaluate_settings(recipe.parameters, "", 0.0)
    options.pop("weight", None)
    return build_config(recipe.merge_method, kind.config, options)


def _find_num_blocks(recipe: MergeRecipe, base_model: str) -> int | None:
    """Return the number of blocks over which lists are interpolated; None if it is unused or unknown."""
    if not recipe.slices:
        return recipe.num_blocks or (count_blocks(base_model) if follows_depth(recipe) else None)
    end, known = recipe.slices[-1].end, recipe.num_blocks or count_blocks(base_model)
    if known is not None and known != end:
        raise IncompatibleExpert(
            f"slices must cover {say_count(known, 'block')} of base model {quote(base_model)}, found {end}: "
            "cover all blocks, because the merged expert is for the same base model"
        )
    return end


def _check_origin(placing: Placing, kind: MergeKind, recipe: MergeRecipe) -> None:
    if placing.origin is None:
        return
    if kind.needs_inputs or recipe.space not in (None, "delta"):
        raise ValueError(
            f"expert {placing.origin!r} can be base_model only in space 'delta' and for methods without "
            "inputs: use the base model as base_model"
        )


def outline_result(job: MergeJob, name: str) -> Expert:
    """Return an expert on the meta device that has the largest shapes the merge can have."""
    factors = {}
    for layer in job.survey.layers:
        most = compute_most_rank(job, layer)
        target = job.rank.choose_target(layer.largest_rank)
        rank, dtype = most if target is None else min(target, most), job.dtype or layer.dtype
        a = torch.empty(rank, layer.inputs, dtype=dtype, device="meta")
        factors[layer.path] = Factors(a, torch.empty(layer.outputs, rank, dtype=dtype, device="meta"))
    card = ExpertCard(base_fingerprint=job.survey.cards[0].base_fingerprint)
    return Expert(name, job.survey.base_model, factors, card)
