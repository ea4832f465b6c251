"""Layers and shapes of experts, read without weights, and checks that the experts can be merged.

Shape letters: I layer input, O layer output.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, ExpertCard
from lorary.experts.on_top import agree_on_general
from lorary.experts.parts import require_low_rank
from lorary.files import quote, say_count
from lorary.transforms.merging.one_base import check_one_base

LayerChoice = Literal["same", "common", "all"]
"""``same``: all experts must change the same layers; ``common``: layers that all experts change; ``all``:
layers that at least one expert changes."""


@dataclass(frozen=True, kw_only=True)
class LayerOutline:
    """Shapes and dtype of one layer's factors."""

    path: str
    """The module's path."""
    outputs: int
    """O."""
    inputs: int
    """I."""
    ranks: tuple[int, ...]
    """Rank of each expert; 0 if it does not change the layer."""
    dtype: torch.dtype
    """The narrowest dtype that can represent all experts' factors."""

    @property
    def largest_rank(self) -> int:
        """The largest of the experts' ranks."""
        return max(self.ranks)

    @property
    def num_bytes(self) -> int:
        """Size of all experts' factors, in bytes."""
        return sum(self.ranks) * (self.inputs + self.outputs) * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Shapes and cards of experts that can be merged."""

    names: tuple[str, ...]
    """Names of the experts, in the order of merging."""
    base_model: str
    """The experts' base model; ``""`` if no expert names it."""
    cards: tuple[ExpertCard, ...]
    """Cards of the experts."""
    layers: tuple[LayerOutline, ...]
    """The layers to merge."""


def _warn_of_copies(experts: Sequence[Expert]) -> None:
    """Warn that copies of base weights are left out: they cannot be compared without the model."""
    found = [expert for expert in experts if expert.kinds]
    if found:
        more = f" (and {say_count(len(found) - 1, 'more such expert')})" if len(found) > 1 else ""
        warnings.warn(
            f"expert {quote(found[0].name)}{more} has weights that PEFT copied from its base model: only its "
            "low-rank factors are used; if these weights were trained or resized, fold the expert instead",
            stacklevel=3,
        )


def survey_experts(experts: Mapping[str, Expert], names: Sequence[str], layers: LayerChoice) -> Survey:
    """Read the experts' shapes, and check their shapes and base models.

    Args:
        experts: a library or any other mapping.
        names: the experts to merge.
        layers: which layers to merge if the experts change different ones.

    Raises:
        IncompatibleExpert: if the experts are for different base models, build on different general experts,
            have different shapes of a layer, change different layers (``same``) or have no layer in common
            (``common``); or one has more than low-rank factors.
        ValueError: if ``layers`` is unknown.
    """
    found: dict[str, dict[int, _Shape]] = {}
    chosen_experts: list[Expert] = []
    for index, name in enumerate(names):
        expert = experts[name]
        chosen_experts.append(expert)
        for path, (a, b) in expert.outlines.items():
            dtype = torch.promote_types(a.dtype, b.dtype)
            found.setdefault(path, {})[index] = _Shape(b.shape[0], a.shape[1], a.shape[0], dtype)
    require_low_rank(chosen_experts, "merging")
    _warn_of_copies(chosen_experts)
    everyone = dict(zip(names, chosen_experts, strict=True))
    check_one_base(everyone)
    agree_on_general(everyone)
    chosen = _choose_paths(names, found, layers)
    return Survey(
        names=tuple(names),
        base_model=next((expert.base_model for expert in chosen_experts if expert.base_model), ""),
        cards=tuple(expert.card for expert in chosen_experts),
        layers=tuple(_describe(names, path, found[path]) for path in chosen),
    )


class _Shape(NamedTuple):
    outputs: int
    inputs: int
    rank: int
    dtype: torch.dtype


def _choose_paths(
    names: Sequence[str], found: Mapping[str, Mapping[int, _Shape]], layers: LayerChoice
) -> list[str]:
    if layers not in ("same", "common", "all"):
        raise ValueError(f"layers must be 'same', 'common' or 'all', found {quote(layers)}")
    common = [path for path, pairs in found.items() if len(pairs) == len(names)]
    if layers == "all":
        return list(found)
    if layers == "same" and len(common) < len(found):
        path, pairs = next((path, pairs) for path, pairs in found.items() if len(pairs) < len(names))
        lacking = next(name for index, name in enumerate(names) if index not in pairs)
        raise IncompatibleExpert(
            f"experts that are merged must change the same modules, but expert {lacking!r} does not change "
            f"{path!r}, and {len(found) - len(common)} of {say_count(len(found), 'module')} are not changed "
            f"by all: choose layers 'common' to merge the {len(common)} that all change, or use 'all'"
        )
    if not common:
        raise IncompatibleExpert(
            "experts that are merged must change a common module, found none in "
            f"{say_count(len(names), 'expert')}: choose layers 'all', or experts of one base model"
        )
    return common


def _describe(names: Sequence[str], path: str, shapes: Mapping[int, _Shape]) -> LayerOutline:
    first, (outputs, inputs, _, dtype) = next(iter(shapes.items()))
    for index, shape in shapes.items():
        if (shape.outputs, shape.inputs) != (outputs, inputs):
            raise IncompatibleExpert(
                f"experts must have the same shape of a layer, but in module {path!r} expert "
                f"{names[first]!r} has [{outputs}, {inputs}] and expert {names[index]!r} has "
                f"[{shape.outputs}, {shape.inputs}]: choose experts of one base model"
            )
        dtype = torch.promote_types(dtype, shape.dtype)
    ranks = tuple(shapes[index].rank if index in shapes else 0 for index in range(len(names)))
    return LayerOutline(path=path, outputs=outputs, inputs=inputs, ranks=ranks, dtype=dtype)
