"""Plans of merges: shapes, memory and time, estimated without reading weights."""

from collections.abc import Mapping
from dataclasses import dataclass

from lorary.experts import Expert
from lorary.files import html_table, say_count
from lorary.transforms.merging.earlier import add_earlier, find_shadowed
from lorary.transforms.merging.estimate import estimate_layer, measure_speed
from lorary.transforms.merging.job import MergeJob, compute_most_rank, outline_result, prepare_merge
from lorary.transforms.merging.recipe.ignored import join_ignored
from lorary.transforms.merging.recipe.placing import name_experts
from lorary.transforms.merging.recipe.recipe import MergeRecipe
from lorary.transforms.merging.sparse import has_sparse, plan_sparse
from lorary.transforms.merging.stream import group_layers
from lorary.transforms.merging.survey import LayerOutline

# Approximate speed at which experts are read from a disk, in bytes per second.
_READ_SPEED = 1e9
ENTRIES = "entries"
"""The space of merged sparse changes."""


@dataclass(frozen=True, kw_only=True)
class PlannedLayer:
    """One layer of a merge."""

    path: str
    """The module's path."""
    outputs: int
    """Layer output width; 0 for sparse changes, whose files do not have it."""
    inputs: int
    """Layer input width; 0 for sparse changes."""
    total_rank: int
    """Sum of the experts' ranks."""
    rank: int
    """The merged rank; for a share of the energy, its maximum."""


@dataclass(frozen=True, kw_only=True, repr=False)
class MergePlan:
    """The size of a merge and its estimated cost."""

    method: str
    """The method's name."""
    space: str
    """The space in which it is applied."""
    names: tuple[str, ...]
    """The experts."""
    base_model: str
    """The experts' base model."""
    layers: tuple[PlannedLayer, ...]
    """The layers to merge."""
    num_rounds: int
    """How often each expert is opened: more than once if the factors of all layers do not fit in memory."""
    expert_bytes: int
    """Size of the factors that are read."""
    result_bytes: int
    """Maximum size of the merged factors."""
    peak_bytes: int
    """Estimated peak memory, without Python and its libraries."""
    seconds: float
    """Estimated time on this machine, usually within a factor of three."""
    num_blocks: int | None = None
    """Number of blocks over which lists of values are interpolated; None if there are no such lists, or if
    the number is only known from the experts."""
    ignored: tuple[str, ...] = ()
    """Sentences about parts of the recipe that have no effect."""

    def __repr__(self) -> str:
        return (
            f"<MergePlan {self.method} of {say_count(len(self.names), 'expert')} on "
            f"{say_count(len(self.layers), 'layer')}, about {self.peak_bytes / 1e6:,.0f} MB of memory and "
            f"{self.seconds:.0f} s>"
        )

    def _repr_html_(self) -> str:
        ranks = sorted({layer.rank for layer in self.layers}) or [0]
        rows = [
            ("experts", ", ".join(self.names)),
            ("base model", self.base_model),
            ("method", f"{self.method} on {self.space}"),
            ("layers", f"{len(self.layers):,}, rank {ranks[0]} to {ranks[-1]}"),
            ("reads", f"{self.expert_bytes / 1e6:,.0f} MB, in {say_count(self.num_rounds, 'round')}"),
            ("result", f"at most {self.result_bytes / 1e6:,.0f} MB"),
            ("needs", f"about {self.peak_bytes / 1e6:,.0f} MB of memory and {self.seconds:.0f} s"),
            *(("ignored", sentence) for sentence in self.ignored),
        ]
        return html_table("plan of a merge", rows)


def plan_merge(experts: Mapping[str, Expert], recipe: MergeRecipe) -> MergePlan:
    """Check a merge and estimate its time and memory, without reading weights.

    Args:
        experts: a library or any other mapping that has the recipe's experts.
        recipe: what to merge and how; ``make_recipe`` makes one from the arguments of ``merge``.

    Raises:
        ValueError, UnknownExpert, IncompatibleExpert: as in ``merge``.
    """
    if has_sparse(experts, recipe):
        return _plan_sparse(experts, recipe)
    before = [plan_merge(experts, other) for other in recipe.earlier.values()]
    job = _prepare_outlined(experts, recipe)
    outlines = job.survey.layers
    layers = tuple(_plan_layer(job, outline) for outline in outlines)
    costs = [
        estimate_layer(job, outline, layer.rank) for outline, layer in zip(outlines, layers, strict=True)
    ]
    total = sum(outline.num_bytes for outline in outlines)
    groups = group_layers(outlines)
    held = max(sum(outline.num_bytes for outline in group) for group in groups)
    result = sum(
        layer.rank * (layer.outputs + layer.inputs) * (job.dtype or outline.dtype).itemsize
        for outline, layer in zip(outlines, layers, strict=True)
    )
    operations, seconds = sum(cost.operations for cost in costs), sum(cost.seconds for cost in costs)
    return MergePlan(
        method=recipe.merge_method,
        space=job.space,
        names=job.placing.names,
        base_model=job.survey.base_model,
        layers=layers,
        num_rounds=len(groups),
        expert_bytes=total,
        result_bytes=result,
        peak_bytes=int(held + result + max(cost.num_bytes for cost in costs)),
        seconds=operations / measure_speed()
        + seconds
        + len(groups) * total / _READ_SPEED
        + sum(plan.seconds for plan in before),
        num_blocks=job.num_blocks,
        ignored=join_ignored(job.ignored, *(plan.ignored for plan in before)),
    )


def _plan_sparse(experts: Mapping[str, Expert], recipe: MergeRecipe) -> MergePlan:
    found = plan_sparse(experts, recipe)
    total = sum(num_bytes for _, num_bytes in found.values())
    names = tuple(model.model for model in name_experts(experts, recipe).models)
    return MergePlan(
        method=recipe.merge_method,
        space=ENTRIES,
        names=names,
        base_model=next((experts[name].base_model for name in names if name in experts), ""),
        layers=tuple(
            PlannedLayer(path=path, outputs=0, inputs=0, total_rank=ranks, rank=ranks)
            for path, (ranks, _) in found.items()
        ),
        num_rounds=1,
        expert_bytes=total,
        result_bytes=total,
        # Values and indices of all experts, sorted copies of them, and the result.
        peak_bytes=4 * total,
        seconds=total / _READ_SPEED,
    )


def _prepare_outlined(experts: Mapping[str, Expert], recipe: MergeRecipe) -> MergeJob:
    """Prepare a merge, with the results of earlier recipes on the meta device."""

    def outline(other: MergeRecipe, called: str) -> Expert:
        return outline_result(_prepare_outlined(experts, other), called)

    shadowed = find_shadowed(experts, recipe)
    return prepare_merge(add_earlier(experts, recipe, outline), recipe, shadowed)


def _plan_layer(job: MergeJob, outline: LayerOutline) -> PlannedLayer:
    most = compute_most_rank(job, outline)
    target = job.rank.choose_target(outline.largest_rank)
    return PlannedLayer(
        path=outline.path,
        outputs=outline.outputs,
        inputs=outline.inputs,
        total_rank=sum(outline.ranks),
        rank=most if target is None else min(target, most),
    )
