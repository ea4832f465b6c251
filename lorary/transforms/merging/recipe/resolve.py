"""A recipe's settings worked out for every layer, before anything is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lorary.files import quote
from lorary.transforms.merging.checks import check_finite_number, is_of_type, join_faults
from lorary.transforms.merging.methods.core import CoreConfig
from lorary.transforms.merging.methods.table import find_rules, merge_named
from lorary.transforms.merging.options import build_config
from lorary.transforms.merging.recipe.recipe import MergeRecipe
from lorary.transforms.merging.recipe.settings import evaluate_settings, find_depths, find_filters


@dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """What a recipe says about one layer."""

    weights: tuple[float, ...]
    """One per expert."""
    densities: tuple[float, ...] | None
    """One per expert, where an expert has its own."""
    config: Any
    """The method's options."""


def resolve_recipe(recipe: MergeRecipe, paths: Sequence[str]) -> dict[str, LayerSettings]:
    """Work out weights, densities and options of every layer.

    Args:
        recipe: a sound recipe.
        paths: the modules to merge.

    Returns:
        Path -> settings.

    Raises:
        ValueError: naming all that is wrong in any layer, and every filter that fits no module.
    """
    faults = dict.fromkeys(_find_idle_filters(recipe, paths))
    found = {}
    for path, depth in find_depths(paths).items():
        try:
            found[path] = _resolve_layer(recipe, path, depth)
        except ValueError as error:
            faults[str(error)] = None
    if faults:
        raise ValueError(join_faults(faults))
    return found


def _resolve_layer(recipe: MergeRecipe, path: str, depth: float) -> LayerSettings:
    kind = merge_named(recipe.merge_method)
    options = evaluate_settings(recipe.parameters, path, depth)
    common = options.pop("weight", None)
    config = build_config(recipe.merge_method, kind.config, options)
    rules = find_rules(recipe.merge_method, config)
    default = 1 / len(recipe.models) if rules.default_weight == "mean" else 1.0
    own = [evaluate_settings(model.parameters, path, depth) for model in recipe.models]
    is_weighted = common is not None or any("weight" in model.parameters for model in recipe.models)
    weights = [values.get("weight", common if is_weighted else default) for values in own]
    faults = [
        fault
        for name, weight in zip(recipe.names, weights, strict=True)
        if (fault := _find_weight_fault(name, path, weight, rules.has_negative_weights))
    ]
    if faults:
        raise ValueError(join_faults(faults))
    if not any("density" in values for values in own):
        return LayerSettings(weights=tuple(weights), densities=None, config=config)
    densities = [values.get("density", find_density(config)) for values in own]
    for density in densities:
        build_config(recipe.merge_method, kind.config, {**options, "density": density})
    return LayerSettings(weights=tuple(weights), densities=tuple(densities), config=config)


def find_density(config: Any) -> float:
    """Give the density of a configuration that has one, or whose inner method has."""
    return (config.inner_config if isinstance(config, CoreConfig) else config).density


def _find_weight_fault(name: str, path: str, weight: Any, may_be_negative: bool) -> str | None:
    if weight is None:
        return f"expert {name!r} has no weight in module {path!r}: end its list with a value without a filter"
    if not is_of_type(weight, float):
        return f"a weight must be a number, found {quote(weight)} of expert {name!r}"
    if weight < 0 and not may_be_negative:
        return f"this method's weights must not be negative, found {quote(weight)} of expert {name!r}"
    return next(check_finite_number(f"the weight of expert {name!r}", weight), None)


def _find_idle_filters(recipe: MergeRecipe, paths: Sequence[str]) -> list[str]:
    settings = [*recipe.parameters.values()]
    settings += [setting for model in recipe.models for setting in model.parameters.values()]
    return [
        f"a filter must be part of a merged module's path, but {quote(text)} is of none, such as {paths[0]!r}"
        for setting in settings
        for text in find_filters(setting)
        if not any(text in path for path in paths)
    ]
