"""A merge made ready: everything is checked and worked out, and no weights are read yet."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.experts import BaseIdentity, Expert, is_same_base
from lorary.files import quote
from lorary.transforms.merging.kind import MergeKind
from lorary.transforms.merging.methods.table import find_rules, merge_named
from lorary.transforms.merging.rank import RankRule, read_rank
from lorary.transforms.merging.recipe.recipe import MergeRecipe
from lorary.transforms.merging.recipe.resolve import LayerSettings, resolve_recipe
from lorary.transforms.merging.spaces import Space
from lorary.transforms.merging.survey import LayerOutline, Survey, survey_experts


@dataclass(frozen=True, kw_only=True)
class MergeJob:
    """A merge of experts that are known to fit each other."""

    recipe: MergeRecipe
    """What was asked for."""
    survey: Survey
    """The experts' shapes and cards."""
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


def prepare_merge(experts: Mapping[str, Expert], recipe: MergeRecipe) -> MergeJob:
    """Look at the experts' shapes and work out what the recipe says about each layer.

    Args:
        experts: a library or any other mapping that has the recipe's experts.
        recipe: what to merge and how.

    Raises:
        UnknownExpert: if a name is not among the experts.
        IncompatibleExpert: if they do not fit each other, or are for another base model than the recipe.
        ValueError: if a setting is out of range in some layer, or the rank is above what any layer can have.
    """
    for name in recipe.names:
        if name not in experts:
            raise UnknownExpert(name, experts, "the library")
    survey = survey_experts(experts, recipe.names, recipe.layers)
    named = BaseIdentity(recipe.base_model or "")
    if not is_same_base(named, BaseIdentity(survey.base_model)):
        raise IncompatibleExpert(
            f"the recipe is for base model {quote(recipe.base_model)}, its experts are for "
            f"{quote(survey.base_model)}: correct base_model, or leave it out"
        )
    settings = resolve_recipe(recipe, [layer.path for layer in survey.layers])
    kind = merge_named(recipe.merge_method)
    rules = find_rules(recipe.merge_method, next(iter(settings.values())).config)
    job = MergeJob(
        recipe=recipe,
        survey=survey,
        settings=settings,
        kind=kind,
        rules=rules,
        space=next(space for space in kind.spaces if recipe.space in (None, space)),
        rank=read_rank(recipe.rank, rules.keeps_full_rank),
        dtype=None if recipe.dtype is None else getattr(torch, recipe.dtype),
    )
    most = max(find_most_rank(job, layer) for layer in survey.layers)
    if job.rank.rank > most:
        raise ValueError(
            f"rank {job.rank.rank} is above what exists: merged by {recipe.merge_method!r} these experts "
            f"have at most rank {most} in any module: ask for that, or for 'full'"
        )
    return job


def find_most_rank(job: MergeJob, layer: LayerOutline) -> int:
    """Give the highest rank that a merged layer can have before it is cut."""
    if job.space == "factors":
        return layer.largest_rank
    # Experts that lack the layer count with zeros of rank 1.
    total = sum(max(1, rank) for rank in layer.ranks)
    narrower = min(layer.outputs, layer.inputs)
    if job.rules.entry_nanoseconds:
        return min(total, narrower) if job.space == "core" else narrower
    return total
