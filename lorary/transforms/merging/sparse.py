"""Merging experts of sparse changes, also with those of low-rank factors: the weighted sum, exact.

E experts, N entries, I layer input, O layer output.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, ExpertCard
from lorary.experts.on_top import agree_on_general
from lorary.experts.parts.low_rank_only import is_linear, list_trained_kinds, refuse_kinds
from lorary.experts.parts.sparse import SparsePart
from lorary.files import quote, say_count
from lorary.transforms.merging.factors_beside import add_factors
from lorary.transforms.merging.layer import MergeLayer
from lorary.transforms.merging.methods.table import find_rules, merge_named
from lorary.transforms.merging.one_base import check_one_base
from lorary.transforms.merging.recipe.placing import Placing, name_experts, place_models
from lorary.transforms.merging.recipe.recipe import MergeRecipe
from lorary.transforms.merging.recipe.recipe_file import describe_recipe
from lorary.transforms.merging.recipe.resolve import resolve_recipe
from lorary.transforms.merging.weights import share_weights

SPARSE_METHODS = ("linear", "cat", "task_arithmetic")
"""Methods that add weight changes, so that the union of entries is exact."""


def has_sparse(experts: Mapping[str, Expert], recipe: MergeRecipe) -> bool:
    """Return whether a recipe's experts have sparse changes; no values are read."""
    recipe = name_experts(experts, recipe)
    return any("sparse" in experts[name].kinds for name in recipe.names if name in experts)


def merge_sparse(experts: Mapping[str, Expert], recipe: MergeRecipe, name: str) -> Expert:
    """Merge experts of sparse changes: entries of all experts, each ``scale * sum_e w_e v_e``.

    Zeros are added until a layer has ``r (I + O)`` entries for one ``r`` of all layers, as PEFT needs it.

    Low-rank factors of other experts are merged separately, as without sparse changes. Such an expert has
    both; it is attached and folded, but PEFT has no type of adapters for it, so it cannot be written.

    Args:
        experts: a library or any other mapping that has the recipe's experts.
        recipe: what to merge; its method is one of ``SPARSE_METHODS``.
        name: name of the merged expert.

    Raises:
        IncompatibleExpert: if an expert has other changes than sparse and low-rank ones, experts change
            different layers, or the method cannot merge entries.
        ValueError: if a setting is out of range.
    """
    recipe, placing, chosen, paths = _prepare(experts, recipe)
    weights = _find_weights(recipe, placing, paths)
    sums: dict[str, tuple[Tensor, Tensor, int]] = {}
    for path in paths:
        terms = [
            (part, weights[path][model])
            for model, expert in chosen.items()
            for part in expert.parts.get(path, ())
            if isinstance(part, SparsePart)
        ]
        if terms:
            sums[path] = _add(terms)
    rank = max((-(-len(values) // width) for values, _, width in sums.values()), default=0)
    parts = {path: (_pad(*entries, rank, path),) for path, entries in sums.items()}
    factors, errors = add_factors(recipe, chosen, paths, weights)
    first = next(iter(chosen.values()))
    card = ExpertCard(
        tasks=tuple(dict.fromkeys(task for expert in chosen.values() for task in expert.card.tasks)),
        tags=("merged",),
        description=f"{say_count(len(chosen), 'expert')} merged by {recipe.merge_method}",
        parents=tuple(chosen),
        provenance={
            "algorithm": "merge",
            "recipe": {**describe_recipe(recipe), "defaults": "lorary"},
            "truncation_error": {**dict.fromkeys(paths, 0.0), **errors},
        },
        base_revision=first.card.base_revision,
        base_fingerprint=first.card.base_fingerprint,
        task_type=first.card.task_type,
        role="merge",
    )
    return Expert(name, first.base_model, factors, card, parts)


def _find_weights(recipe: MergeRecipe, placing: Placing, paths: Sequence[str]) -> dict[str, dict[str, float]]:
    """Resolve the weights with all factors: layer -> expert -> weight."""
    names = tuple(model.model for model in placing.models)
    found = {}
    for path, settings in resolve_recipe(recipe, paths, models=placing.models).items():
        weights = settings.weights
        if getattr(settings.config, "normalize", False):
            weights = share_weights(MergeLayer(path=path, names=names, pairs=(), weights=weights))
        scale = getattr(settings.config, "scale", 1.0)
        found[path] = {name: scale * weight for name, weight in zip(names, weights, strict=True)}
    return found


def plan_sparse(experts: Mapping[str, Expert], recipe: MergeRecipe) -> dict[str, tuple[int, int]]:
    """Check a merge of sparse changes without reading values.

    Returns:
        Module path -> the sum of PEFT's ``r`` and of the ranks of all experts, and the bytes of all their
        entries and factors.

    Raises:
        IncompatibleExpert, ValueError: as ``merge_sparse``, except for what depends on values.
    """
    _, _, chosen, paths = _prepare(experts, recipe)
    found = {}
    for path in paths:
        parts = [part for expert in chosen.values() for part in expert.part_outlines.get(path, ())]
        ranks = sum(part.rank for part in parts if isinstance(part, SparsePart))
        pairs = [expert.outlines[path] for expert in chosen.values() if path in expert.outlines]
        num_bytes = sum(tensor.nbytes for part in parts for tensor in part.tensors.values())
        found[path] = (
            ranks + sum(len(a) for a, _ in pairs),
            num_bytes + sum(a.nbytes + b.nbytes for a, b in pairs),
        )
    return found


def _prepare(
    experts: Mapping[str, Expert], recipe: MergeRecipe
) -> tuple[MergeRecipe, Placing, dict[str, Expert], list[str]]:
    """Return the recipe with names of experts, their roles, the experts, and the layers to merge."""
    recipe = name_experts(experts, recipe)
    settings = resolve_recipe(recipe, [""])
    placing = place_models(experts, recipe, find_rules(recipe.merge_method, settings[""].config))
    chosen = {model.model: experts[model.model] for model in placing.models if model.model in experts}
    _check(chosen, placing, recipe)
    check_one_base(chosen)
    agree_on_general(chosen)
    return recipe, placing, chosen, _choose_paths(chosen, recipe.layers)


def _check(chosen: Mapping[str, Expert], placing: Placing, recipe: MergeRecipe) -> None:
    method = merge_named(recipe.merge_method)
    kinds = {name: list_trained_kinds(expert) for name, expert in chosen.items()}
    refuse_kinds({name: own for name, own in kinds.items() if not is_linear(own)}, "merging")
    if recipe.pico is not None:
        raise IncompatibleExpert(
            "pico can be used for experts of low-rank factors only, found sparse changes: leave pico out"
        )
    if recipe.merge_method not in SPARSE_METHODS or placing.origin is not None:
        raise IncompatibleExpert(
            f"sparse changes can be merged by {', '.join(SPARSE_METHODS)} with the base model as base_model, "
            f"found {quote(recipe.merge_method)} in space {method.spaces[0]!r}: use one of these"
        )


def _choose_paths(chosen: Mapping[str, Expert], layers: str) -> list[str]:
    known = [set(expert.paths) for expert in chosen.values()]
    union = list(dict.fromkeys(path for expert in chosen.values() for path in expert.paths))
    common = [path for path in union if all(path in own for own in known)]
    if layers == "all":
        return union
    if not common or (layers == "same" and len(common) < len(union)):
        raise IncompatibleExpert(
            f"experts that are merged must change the same modules, found {len(common)} of {len(union)} that "
            "all change: choose layers 'common' or 'all'"
        )
    return common


def _add(terms: Sequence[tuple[SparsePart, float]]) -> tuple[Tensor, Tensor, int]:
    """Return values ``[N]``, indices ``[2, N]`` and I + O of the sum of weighted parts of one layer."""
    widths = {len(part.values) // part.rank for part, _ in terms}
    if len(widths) > 1 or any(len(part.values) % part.rank for part, _ in terms):
        raise IncompatibleExpert(
            "sparse changes of one layer must have r (I + O) entries with equal I + O, found "
            f"{sorted(widths)}: merge experts of one base model"
        )
    indices = torch.cat([part.indices for part, _ in terms], dim=1)
    values = torch.cat([part.values.float() * weight for part, weight in terms])
    entries, place = indices.unique(dim=1, return_inverse=True)
    summed = torch.zeros(entries.shape[1], dtype=torch.float64).index_add(0, place, values.double())
    dtype = terms[0][0].values.dtype
    for part, _ in terms:
        dtype = torch.promote_types(dtype, part.values.dtype)
    return summed.to(dtype), entries, widths.pop()


def _pad(values: Tensor, indices: Tensor, width: int, rank: int, path: str) -> SparsePart:
    """Add zeros at entries that are not in use, within the rows and columns that are."""
    missing = rank * width - len(values)
    rows, columns = (int(each.max()) + 1 for each in indices)
    if rank * width > rows * columns:
        raise IncompatibleExpert(
            f"the union of entries of {quote(path)} must have room for PEFT's r (I + O) entries among "
            f"{rows * columns}, found r = {rank}: merge fewer experts, or fold them one after another"
        )
    is_free = torch.ones(rows * columns, dtype=torch.bool)
    is_free[indices[0] * columns + indices[1]] = False
    free = is_free.nonzero().squeeze(1)[:missing]
    indices = torch.cat([indices, torch.stack([free // columns, free % columns])], dim=1)
    return SparsePart(torch.cat([values, values.new_zeros(missing)]), indices, rank)
