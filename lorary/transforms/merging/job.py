"""A merge made ready: everything is checked and worked out, and no weights are read yet."""

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
    """A merge of experts that are known to fit each other."""

    recipe: MergeRecipe
    """What was asked for."""
    survey: Survey
    """The experts' shapes and cards."""
    placing: Placing
    """What the method is given of them, in its order."""
    num_blocks: int | None
    """How many blocks lists of values run over; None where there are none, or only the experts show it."""
    ignored: tuple[str, ...]
    """What the recipe says that changes nothing here, a sentence for each reason."""
    settings: Mapping[str, LayerSettings]
    """Weights and options of every layer."""
    kind: MergeKind
    """The method."""
    rules: MergeKind
    """The method whose rules hold, which for ``core`` is the inner one."""
    space: Space
    """What the method is applied to."""
    rank: RankRule
    """How large layers become."""
    dtype: torch.dtype | None
    """Of the merged factors; None keeps the experts'."""


def prepare_merge(
    experts: Mapping[str, Expert], recipe: MergeRecipe, shadowed: Iterable[str] = ()
) -> MergeJob:
    """Look at the experts' shapes and work out what the recipe says about each layer.

    Args:
        experts: a library or any other mapping that has the recipe's experts.
        recipe: what to merge and how.
        shadowed: sentences on experts that the recipe cannot mean.

    Raises:
        UnknownExpert: if a name is not among the experts.
        IncompatibleExpert: if they do not fit each other, or are for another base model than the recipe.
        ValueError: if a setting is out of range in some layer, or the rank is above what any layer can have.
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
            f"rank {job.rank.rank} is above what exists: merged by {recipe.merge_method!r} these experts "
            f"have at most rank {most} in any module: ask for that, or for 'full'"
        )
    return job


def compute_most_rank(job: MergeJob, layer: LayerOutline) -> int:
    """Give the highest rank that a merged layer can have before it is cut."""
    ranks = dict(zip(job.survey.names, layer.ranks, strict=True))
    if job.space == "factors":
        return layer.largest_rank
    # Experts that lack the layer count with zeros of rank 1.
    total = sum(max(1, ranks.get(model.model, 1)) for model in job.placing.models)
    if job.placing.origin is not None:
        # It is taken from every expert, and added at the end.
        total += (len(job.placing.models) + 1) * max(1, ranks[job.placing.origin])
    narrower = min(layer.outputs, layer.inputs)
    if job.rules.entry_nanoseconds:
        return min(total, narrower) if job.space == "core" else narrower
    return total


def _build_first_config(recipe: MergeRecipe, kind: MergeKind) -> Any:
    """Build the method's configuration without what differs between layers, to know its rules."""
    options = evaluate_settings(recipe.parameters, "", 0.0)
    options.pop("weight", None)
    return build_config(recipe.merge_method, kind.config, options)


def _find_num_blocks(recipe: MergeRecipe, base_model: str) -> int | None:
    """Give the number of blocks that lists of values run over; None if it changes nothing or is not known."""
    if not recipe.slices:
        return recipe.num_blocks or (count_blocks(base_model) if follows_depth(recipe) else None)
    end, known = recipe.slices[-1].end, recipe.num_blocks or count_blocks(base_model)
    if known is not None and known != end:
        raise IncompatibleExpert(
            f"the recipe's slices cover {say_count(end, 'block')}, base model {quote(base_model)} has "
            f"{known}: cover "
            "all of them, because experts are merged block by block into one for the same base model"
        )
    return end


def _check_origin(placing: Placing, kind: MergeKind, recipe: MergeRecipe) -> None:
    if placing.origin is None:
        return
    if kind.needs_inputs or recipe.space not in (None, "delta"):
        raise ValueError(
            f"changes are counted from expert {placing.origin!r} only in space 'delta' and by methods that "
            "look at no inputs: name the base model as base_model"
        )


def outline_result(job: MergeJob, name: str) -> Expert:
    """Give an expert of the shapes that a merge will have at most, without numbers."""
    factors = {}
    for layer in job.survey.layers:
        most = compute_most_rank(job, layer)
        target = job.rank.choose_target(layer.largest_rank)
        rank, dtype = most if target is None else min(target, most), job.dtype or layer.dtype
        a = torch.empty(rank, layer.inputs, dtype=dtype, device="meta")
        factors[layer.path] = Factors(a, torch.empty(layer.outputs, rank, dtype=dtype, device="meta"))
    card = ExpertCard(base_fingerprint=job.survey.cards[0].base_fingerprint)
    return Expert(name, job.survey.base_model, factors, card)
