"""Resolving a recipe's settings for each layer, before weights are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lorary.errors import IncompatibleExpert
from lorary.files import quote, say_count
from lorary.transforms.merging.checks import check_finite_number, is_of_type, join_faults
from lorary.transforms.merging.kind import MergeKind
from lorary.transforms.merging.methods.inner import HasInner, find_inner_config
from lorary.transforms.merging.methods.table import find_rules, merge_named
from lorary.transforms.merging.options import build_config
from lorary.transforms.merging.recipe.blocks import (
    compute_depth_between,
    compute_depths,
    find_largest_block,
    parse_place,
)
from lorary.transforms.merging.recipe.recipe import MergeRecipe, RecipeModel, RecipeSlice
from lorary.transforms.merging.recipe.settings import Setting, choose_filter, evaluate_setting, list_filters


@dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """Settings of one layer."""

    weights: tuple[float, ...]
    """One weight per expert."""
    own: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Options with a value for each expert: option -> one value per expert."""
    config: Any
    """The configuration of the method."""


@dataclass(frozen=True, kw_only=True)
class _Sources:
    """Settings that apply to one layer; the first source that has a value is used."""

    path: str
    depth: float
    shared: tuple[Mapping[str, Setting], ...]
    models: tuple[Mapping[str, Setting] | None, ...]
    """Parameters of each expert; None if it is not merged in this layer."""


def resolve_recipe(
    recipe: MergeRecipe,
    paths: Sequence[str],
    *,
    models: Sequence[RecipeModel] | None = None,
    num_blocks: int | None = None,
) -> dict[str, LayerSettings]:
    """Resolve weights, options and the experts' own options for each layer.

    Args:
        recipe: a valid recipe.
        paths: paths of the modules to merge.
        models: the experts in the method's order; None for the recipe's order.
        num_blocks: number of blocks of the base model; None for the number that is known from the paths.

    Returns:
        Module path -> settings.

    Raises:
        ValueError: with all faults of all layers.
        IncompatibleExpert: if a module is in a block that the model does not have.
    """
    _check_blocks(recipe, paths, num_blocks)
    chosen = recipe.models if models is None else models
    faults: dict[str, None] = {}
    found = {}
    for path, depth in compute_depths(paths, num_blocks).items():
        try:
            found[path] = _resolve_layer(recipe, _collect_sources(recipe, chosen, path, depth), chosen)
        except ValueError as error:
            faults[str(error)] = None
    if faults:
        raise ValueError(join_faults(faults))
    return found


def find_idle_filters(
    recipe: MergeRecipe,
    paths: Sequence[str],
    *,
    models: Sequence[RecipeModel] | None = None,
    num_blocks: int | None = None,
) -> tuple[str, ...]:
    """Return sentences about filters that choose no value for any merged module; see ``resolve_recipe``."""
    chosen = recipe.models if models is None else models
    sources = [recipe.parameters, *(part.parameters for part in recipe.slices)]
    sources += [model.parameters for part in recipe.slices for model in part.models]
    sources += [model.parameters for model in chosen]
    filters = dict.fromkeys(
        text for source in sources for setting in source.values() for text in list_filters(setting)
    )
    used = set()
    for path, depth in compute_depths(paths, num_blocks).items() if filters else ():
        found = _collect_sources(recipe, chosen, path, depth)
        settings = [
            setting for source in (*found.shared, *found.models) for setting in (source or {}).values()
        ]
        used |= {choose_filter(setting, path) for setting in settings}
    unfit = [text for text in filters if not any(text in f"{path}.weight" for path in paths)]
    late = [text for text in filters if text not in used and text not in unfit]
    reasons = {
        f"it matches no module that the experts change, such as {paths[0]!r}": unfit,
        "earlier filters match the same modules, or its slice has none of them": late,
    }
    return tuple(
        f"filter {', '.join(map(quote, some))}: {reason}" for reason, some in reasons.items() if some
    )


def follows_depth(recipe: MergeRecipe) -> bool:
    """Return whether any setting is a list of values along the depth of the model."""
    settings = [*recipe.parameters.values()]
    settings += [setting for model in recipe.models for setting in model.parameters.values()]
    return any(_is_gradient(setting) for setting in settings)


def _is_gradient(setting: Setting) -> bool:
    if not isinstance(setting, list | tuple):
        return False
    return any(
        _is_gradient(item["value"]) if isinstance(item, Mapping) else len(setting) > 1 for item in setting
    )


def _check_blocks(recipe: MergeRecipe, paths: Sequence[str], num_blocks: int | None) -> None:
    largest = find_largest_block(paths)
    if num_blocks is not None and largest is not None and largest >= num_blocks:
        source = "the recipe's slices cover" if recipe.slices else "the base model has"
        raise IncompatibleExpert(
            f"experts must change blocks that exist, but {source} {say_count(num_blocks, 'block')} (0 to "
            f"{num_blocks - 1}) and an expert changes block {largest}: correct the recipe"
        )


def _collect_sources(recipe: MergeRecipe, models: Sequence[RecipeModel], path: str, depth: float) -> _Sources:
    if not recipe.slices:
        own = tuple(model.parameters for model in models)
        return _Sources(path=path, depth=depth, shared=(recipe.parameters,), models=own)
    part, depth = _find_slice(recipe.slices, path)
    given = {model.model: model.parameters for model in part.models}
    return _Sources(
        path=path,
        depth=depth,
        shared=(part.parameters, recipe.parameters),
        models=tuple(given.get(model.model) for model in models),
    )


def _find_slice(slices: Sequence[RecipeSlice], path: str) -> tuple[RecipeSlice, float]:
    place = parse_place(path)
    if place.block is None:
        return (slices[0], 0.0) if place.is_before else (slices[-1], 1.0)
    part = next(part for part in slices if part.begin <= place.block < part.end)
    return part, compute_depth_between(place.block, part.begin, part.end)


def _resolve_layer(recipe: MergeRecipe, sources: _Sources, models: Sequence[RecipeModel]) -> LayerSettings:
    kind = merge_named(recipe.merge_method)
    names = dict.fromkeys(name for source in sources.shared for name in source)
    options = {name: value for name in names if (value := _look_up(sources, name)) is not None}
    options.pop("weight", None)
    config = build_config(recipe.merge_method, kind.config, options)
    rules = find_rules(recipe.merge_method, config)
    weights = _resolve_weights(sources, models, rules)
    own = {}
    for name in rules.own_options:
        if any(name in (parameters or {}) for parameters in sources.models):
            default = read_option(config, name)
            own[name] = tuple(_look_up(sources, name, index, default) for index in range(len(models)))
    for values in zip(*own.values(), strict=True):
        build_config(recipe.merge_method, kind.config, {**options, **dict(zip(own, values, strict=True))})
    return LayerSettings(weights=weights, own=own, config=config)


def _look_up(sources: _Sources, name: str, expert: int | None = None, default: Any = None) -> Any:
    """Return a setting's value for the layer: the expert's own, or else the shared one, or the default."""
    own = None if expert is None else sources.models[expert]
    for source in (own or {}, *sources.shared):
        if (
            name in source
            and (value := evaluate_setting(source[name], sources.path, sources.depth)) is not None
        ):
            return value
    return default


def _resolve_weights(sources: _Sources, models: Sequence[RecipeModel], rules: MergeKind) -> tuple[float, ...]:
    is_weighted = any("weight" in (source or {}) for source in (*sources.shared, *sources.models))
    default = None if is_weighted else 1 / len(models) if rules.default_weight == "mean" else 1.0
    weights = [
        0.0 if sources.models[index] is None else _look_up(sources, "weight", index, default)
        for index in range(len(models))
    ]
    faults = [
        fault
        for model, weight in zip(models, weights, strict=True)
        if (fault := _find_weight_fault(model.model, sources.path, weight, rules.has_negative_weights))
    ]
    if faults:
        raise ValueError(join_faults(faults))
    return tuple(weights)


def read_option(config: Any, name: str) -> Any:
    """Return an option of a configuration; or of its inner method's."""
    return getattr(find_inner_config(config) if isinstance(config, HasInner) else config, name)


def _find_weight_fault(name: str, path: str, weight: Any, may_be_negative: bool) -> str | None:
    if weight is None:
        return (
            f"expert {name!r} must have a weight in module {path!r}, but no filter matches: add a value "
            "without a filter at the end"
        )
    if not is_of_type(weight, float):
        return f"weight of expert {name!r} must be a number, found {quote(weight)}"
    if weight < 0 and not may_be_negative:
        return f"weight of expert {name!r} must be at least 0 for this method, found {quote(weight)}"
    return next(check_finite_number(f"weight of expert {name!r}", weight), None)
