"""Low-rank factors that are merged in addition to sparse changes, by methods that add."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lorary.experts import Expert, Factors
from lorary.lowrank import weighted_sum
from lorary.transforms.merging.layer import LowRank
from lorary.transforms.merging.methods.table import merge_named
from lorary.transforms.merging.rank import cut, read_rank
from lorary.transforms.merging.recipe.recipe import MergeRecipe
from lorary.transforms.merging.stream import stream_layers
from lorary.transforms.merging.survey import survey_experts


def add_factors(
    recipe: MergeRecipe,
    experts: Mapping[str, Expert],
    paths: Sequence[str],
    weights: Mapping[str, Mapping[str, float]],
) -> tuple[dict[str, Factors], dict[str, float]]:
    """Add the weight changes of all experts' factors, and truncate each layer to the recipe's rank.

    Args:
        recipe: the recipe, whose method adds weight changes.
        experts: the experts; those without factors add nothing here.
        paths: the layers to merge.
        weights: layer -> expert -> weight, with all factors of the method.

    Returns:
        Module path -> merged factors, and module path -> relative error of the truncation.
    """
    low_rank = {name: replace(expert, parts={}) for name, expert in experts.items() if expert.factors}
    if not low_rank:
        return {}, {}
    survey = survey_experts(low_rank, list(low_rank), "all")
    layers = [layer for layer in survey.layers if layer.path in paths]
    rule = read_rank(recipe.rank, merge_named(recipe.merge_method).keeps_full_rank)
    merged: dict[str, Factors] = {}
    errors: dict[str, float] = {}
    for layer, pairs in stream_layers(low_rank, survey.names, layers):
        own = [weights[layer.path][name] for name in survey.names]
        a, b, errors[layer.path] = cut(LowRank(*weighted_sum(pairs, own)), rule, layer.largest_rank)
        merged[layer.path] = Factors(a.to(layer.dtype).contiguous(), b.to(layer.dtype).contiguous())
    return merged, errors
