"""Making a recipe from the arguments of ``merge``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from lorary.errors import suggest
from lorary.experts import Expert
from lorary.experts.routed import list_routed
from lorary.files import quote
from lorary.transforms.merging.checks import join_faults
from lorary.transforms.merging.pico import Rescale
from lorary.transforms.merging.recipe.mergekit import translate_method
from lorary.transforms.merging.recipe.recipe import MergeRecipe, RecipeModel
from lorary.transforms.merging.survey import LayerChoice


def collect_experts(experts: Mapping[str, Expert] | Iterable[Expert]) -> Mapping[str, Expert]:
    """Return experts as a mapping by name.

    Raises:
        ValueError: if two experts have the same name.
    """
    if isinstance(experts, Mapping):
        return experts
    listed = list(experts)
    mapping = {expert.name: expert for expert in listed}
    if len(mapping) < len(listed):
        raise ValueError(
            f"experts must have different names, found {', '.join(repr(expert.name) for expert in listed)}"
        )
    return mapping


def make_recipe(
    names: Iterable[str],
    method: str = "ties",
    *,
    weights: Sequence[float] | Mapping[str, float] | None = None,
    rank: int | str | None = None,
    space: str | None = None,
    pico: Rescale | None = None,
    layers: LayerChoice = "same",
    dtype: torch.dtype | str | None = None,
    options: Mapping[str, Any] | None = None,
) -> MergeRecipe:
    """Make a recipe from arguments that have the same meaning as in ``merge``.

    Args:
        names: names of the experts, in order, or a library for those of ``list_routed``.
        method: a key of ``MERGES``, or mergekit's name of a method.
        weights: one number per expert, in order or by name; None for the method's default.
        rank: a number, a share of the energy, ``"kept"``, ``"full"`` or None.
        space: ``"delta"``, ``"core"`` or ``"factors"``; None for the method's default.
        pico: ``"merge"``, ``"experts"`` or None.
        layers: ``"same"``, ``"common"`` or ``"all"``.
        dtype: dtype of the merged factors, or its name; None keeps that of the experts.
        options: options of the method, by name.

    Raises:
        ValueError: with all faults of the arguments.
    """
    chosen = list_routed(names) if isinstance(names, Mapping) else list(names)
    if not chosen:
        raise ValueError("at least one expert is needed to merge, found none: name experts of the library")
    faults = []
    method, fixed = translate_method(method)
    own: Mapping[str, Any] = {}
    try:
        own = _assign_weights(chosen, weights)
    except ValueError as error:
        faults.append(str(error))
    models = tuple(
        RecipeModel(model=name, parameters={"weight": own[name]} if name in own else {}) for name in chosen
    )
    try:
        recipe = MergeRecipe(
            merge_method=method,
            models=models,
            parameters={**fixed, **(options or {})},
            dtype=None if dtype is None else str(dtype).removeprefix("torch."),
            rank=rank,
            space=space,
            pico=pico,
            layers=layers,
        )
    except ValueError as error:
        faults.append(str(error))
    if faults:
        raise ValueError(join_faults(faults))
    return recipe


def _assign_weights(
    names: Sequence[str], weights: Sequence[float] | Mapping[str, float] | None
) -> Mapping[str, Any]:
    if weights is None:
        return {}
    if not isinstance(weights, Mapping):
        if len(weights) != len(names):
            raise ValueError(f"weights must be one number per expert, found {len(weights)} for {len(names)}")
        return dict(zip(names, weights, strict=True))
    unknown = [name for name in weights if name not in names]
    faults = [f"there is no expert {quote(name)}: {suggest(str(name), names)}" for name in unknown]
    lacking = [quote(name) for name in names if name not in weights]
    if lacking:
        faults.append(f"each expert must have one, found none for {', '.join(lacking)}")
    if faults:
        raise ValueError("weights: " + join_faults(faults))
    return weights
