"""Merging experts into one, layer by layer."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lorary.experts import Expert, Factors, check_name
from lorary.experts.routed import list_routed
from lorary.files import quote
from lorary.transforms.merging.card import describe_merge
from lorary.transforms.merging.chosen import keep_mergeable
from lorary.transforms.merging.earlier import add_earlier, find_shadowed
from lorary.transforms.merging.inputs import LayerInputs
from lorary.transforms.merging.job import MergeJob, prepare_merge
from lorary.transforms.merging.layer import Change, MergeLayer
from lorary.transforms.merging.origin import merge_from
from lorary.transforms.merging.pico import Rescale, merge_calibrated
from lorary.transforms.merging.rank import cut
from lorary.transforms.merging.recipe.arguments import collect_experts, make_recipe
from lorary.transforms.merging.recipe.recipe import MergeRecipe
from lorary.transforms.merging.spaces import merge_in
from lorary.transforms.merging.sparse import has_sparse, merge_sparse
from lorary.transforms.merging.stream import stream_layers
from lorary.transforms.merging.survey import LayerChoice, LayerOutline
from lorary.transforms.stacks import Progress


def merge(
    experts: Mapping[str, Expert] | Iterable[Expert],
    method: str = "ties",
    *,
    names: Sequence[str] | None = None,
    weights: Sequence[float] | Mapping[str, float] | None = None,
    rank: int | str | None = None,
    space: str | None = None,
    pico: Rescale | None = None,
    layers: LayerChoice = "same",
    dtype: torch.dtype | None = None,
    name: str = "merged",
    grams: Mapping[str, Tensor] | None = None,
    activations: Mapping[str, Sequence[Tensor]] | None = None,
    on_progress: Progress | None = None,
    **options: Any,
) -> Expert:
    """Merge experts into one.

    Layers are merged one after the other, in float32 or float64, so experts in files are never all in memory.
    Each method is described at its function, such as ``merge_ties``.

    Args:
        experts: a library, any other mapping, or an iterable of experts.
        method: a key of ``MERGES``, or mergekit's name of a method.
        names: the experts, in order; None for those of ``list_routed``, without those of other kinds.
        weights: one number per expert, in order or by name; None for the method's default, ``1 / E`` or 1.
        rank: a number, a share of the energy such as ``"99%"``, ``"kept"`` (the largest of the experts' ranks
            in each layer) or ``"full"``; None is ``"full"`` for ``cat`` and ``subtract``, else ``"kept"``.
        space: ``"delta"``, ``"core"`` or ``"factors"``; None for the method's default.
        pico: ``"merge"`` or ``"experts"``: first scale down the output directions that many experts use (see
            ``merge_calibrated``); then the merged layer has the mean of the experts' norms, or each expert
            keeps its own; None: do not.
        layers: ``"same"``: all experts must change the same modules; ``"common"``: merge the modules that all
            experts change; ``"all"``: merge all modules, a missing weight change is zero.
        dtype: dtype of the merged factors; None for the narrowest that can represent the experts' factors of
            a layer.
        name: name of the merged expert.
        grams: for ``regmean``: module path -> ``[E, I, I]``, sums of ``x x^T`` over each expert's inputs.
        activations: instead of ``grams``: module path -> one ``[N, I]`` per expert.
        on_progress: called after each layer with the number of layers done and of all layers.
        **options: options of the method, such as ``density``; its configuration checks them.

    Returns:
        An expert whose card has its parents, the recipe that repeats the merge, the weights, and the
        truncation error of each layer (relative Frobenius norm, before rounding to ``dtype``).

    Raises:
        ValueError: with all faults of the arguments.
        UnknownExpert: if there is no expert of a name.
        IncompatibleExpert: if the experts are for different base models or change different modules.
        FormatError: if an expert has NaN or infinite weights.
    """
    mapping = collect_experts(experts)
    recipe = make_recipe(
        keep_mergeable(mapping, list_routed(mapping)) if names is None else names,
        method,
        weights=weights,
        rank=rank,
        space=space,
        pico=pico,
        layers=layers,
        dtype=dtype,
        options=options,
    )
    return merge_by_recipe(
        mapping, recipe, name=name, grams=grams, activations=activations, on_progress=on_progress
    )


@torch.no_grad()
def merge_by_recipe(
    experts: Mapping[str, Expert],
    recipe: MergeRecipe,
    *,
    name: str = "merged",
    grams: Mapping[str, Tensor] | None = None,
    activations: Mapping[str, Sequence[Tensor]] | None = None,
    on_progress: Progress | None = None,
) -> Expert:
    """Merge experts by a recipe, such as one from ``read_recipe``; see ``merge``.

    Args:
        experts: a library or any other mapping that has the recipe's experts.
        recipe: what to merge and how. Earlier recipes whose results it uses are merged first, without
            truncation unless they have a rank.
        name: name of the merged expert.
        grams: for ``regmean``: module path -> ``[E, I, I]``, sums of ``x x^T`` over each expert's inputs.
        activations: instead of ``grams``: module path -> one ``[N, I]`` per expert.
        on_progress: called after each layer with the number of layers done and of all layers.

    Raises:
        ValueError, UnknownExpert, IncompatibleExpert, FormatError: as in ``merge``.
    """
    check_name(name)
    shadowed = find_shadowed(experts, recipe)
    experts = add_earlier(experts, recipe, lambda other, called: merge_by_recipe(experts, other, name=called))
    if has_sparse(experts, recipe):
        return merge_sparse(experts, recipe, name)
    job = prepare_merge(experts, recipe, shadowed)
    inputs = _check_inputs(job, grams, activations)
    factors: dict[str, Factors] = {}
    errors: dict[str, float] = {}
    layers = job.survey.layers
    for outline, pairs in stream_layers(experts, job.survey.names, layers):
        factors[outline.path], errors[outline.path] = _merge_layer(job, outline, pairs, inputs)
        if on_progress is not None:
            on_progress(len(factors), len(layers))
    return Expert(name, job.survey.base_model, factors, describe_merge(job, errors))


def _check_inputs(
    job: MergeJob, grams: Mapping[str, Tensor] | None, activations: Mapping[str, Sequence[Tensor]] | None
) -> LayerInputs | None:
    if job.kind.needs_inputs:
        inputs = LayerInputs(grams, activations)
        inputs.check(job.survey.layers, len(job.survey.names))
        return inputs
    if grams is not None or activations is not None:
        raise ValueError(
            f"grams and activations must be None for method {job.recipe.merge_method!r}, which does not use "
            "inputs: leave them out"
        )
    return None


def _merge_layer(
    job: MergeJob, outline: LayerOutline, pairs: tuple[Factors, ...], inputs: LayerInputs | None
) -> tuple[Factors, float]:
    settings, placing = job.settings[outline.path], job.placing
    known = dict(zip(job.survey.names, pairs, strict=True))
    nothing = Factors(pairs[0].a[:1] * 0, pairs[0].b[:, :1] * 0)
    # Methods with an inner method transform to its space by themselves.
    space = job.space if job.kind is job.rules else "delta"

    def merge_pairs(changes: tuple[Factors, ...]) -> Change:
        layer = MergeLayer(
            path=outline.path,
            names=tuple(model.model for model in placing.models),
            pairs=changes,
            weights=settings.weights,
            own=settings.own,
            rank=job.rank.choose_target(outline.largest_rank),
            grams=None if inputs is None else inputs.compute_grams(outline.path),
        )
        return merge_in(space, job.kind.merge, layer, settings.config)

    def calibrate_and_merge(changes: tuple[Factors, ...]) -> Change:
        if job.recipe.pico is None:
            return merge_pairs(changes)
        return merge_calibrated(changes, settings.weights, job.recipe.pico, merge_pairs)

    given = [known.get(model.model, nothing) for model in placing.models]
    dtype = job.dtype or outline.dtype
    try:
        change = merge_from(
            None if placing.origin is None else known[placing.origin], given, calibrate_and_merge
        )
        a, b, error = cut(change, job.rank, outline.largest_rank)
    except torch.linalg.LinAlgError as failed:
        # No decomposition converges if a product has become infinite.
        if all((pair.b @ pair.a).isfinite().all() for pair in known.values()):
            raise
        raise _refuse_infinite(outline.path, known, dtype) from failed
    merged = Factors(a.to(dtype).contiguous(), b.to(dtype).contiguous())
    if not all(factor.isfinite().all() for factor in merged) or not math.isfinite(error):
        raise _refuse_infinite(outline.path, known, dtype)
    return merged, error


def _refuse_infinite(path: str, known: Mapping[str, Factors], dtype: torch.dtype) -> ValueError:
    sizes = {name: max(float(factor.abs().max()) for factor in pair) for name, pair in known.items()}
    largest = max(sizes, key=lambda name: sizes[name])
    return ValueError(
        f"merged weights of module {path!r} must be finite, found others in {dtype} (the largest values "
        f"there are those of expert {quote(largest)}, up to {sizes[largest]:.3g}): use a wider dtype, or "
        "smaller weights and scale"
    )
