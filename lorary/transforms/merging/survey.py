"""Which layers experts have, without reading their numbers, and whether the experts can be merged at all.

Shape letters: I layer input, O layer output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, ExpertCard
from lorary.files import quote, say_count
from lorary.transforms.merging.one_base import check_one_base

LayerChoice = Literal["same", "common", "all"]
"""All experts must change the same layers; those that all change; those that any changes."""


@dataclass(frozen=True, kw_only=True)
class LayerOutline:
    """What one layer's factors look like."""

    path: str
    """The module's path."""
    outputs: int
    """O."""
    inputs: int
    """I."""
    ranks: tuple[int, ...]
    """Each expert's rank here; 0 where it leaves the layer alone."""
    dtype: torch.dtype
    """The narrowest that holds all experts' factors."""

    @property
    def largest_rank(self) -> int:
        """The largest of the experts' ranks."""
        return max(self.ranks)

    @property
    def num_bytes(self) -> int:
        """Size of all experts' factors."""
        return sum(self.ranks) * (self.inputs + self.outputs) * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Experts that can be merged."""

    names: tuple[str, ...]
    """Their names, in the order of merging."""
    base_model: str
    """What they were trained on."""
    cards: tuple[ExpertCard, ...]
    """What is known about them."""
    layers: tuple[LayerOutline, ...]
    """The layers to merge."""


def survey_experts(experts: Mapping[str, Expert], names: Sequence[str], layers: LayerChoice) -> Survey:
    """Look at experts' shapes and base models.

    Args:
        experts: a library or any other mapping.
        names: those to merge.
        layers: which layers to merge where the experts' differ.

    Raises:
        IncompatibleExpert: if they are for different base models, disagree on a layer's shape, or do not
            change the same layers as far as asked for.
    """
    found: dict[str, dict[int, _Shape]] = {}
    chosen_experts: list[Expert] = []
    for index, name in enumerate(names):
        expert = experts[name]
        chosen_experts.append(expert)
        for path, (a, b) in expert.outlines.items():
            dtype = torch.promote_types(a.dtype, b.dtype)
            found.setdefault(path, {})[index] = _Shape(b.shape[0], a.shape[1], a.shape[0], dtype)
    check_one_base(dict(zip(names, chosen_experts, strict=True)))
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
            f"experts that are merged must change the same modules, but expert {lacking!r} leaves {path!r} "
            f"alone, and {len(found) - len(common)} of {say_count(len(found), 'module')} are not changed "
            "by all: choose "
            f"layers 'common' to merge the {len(common)} that are, or 'all' to count what is missing as zero"
        )
    if not common:
        raise IncompatibleExpert(
            f"the {say_count(len(names), 'expert')} have no module in common, so nothing of them can be "
            "merged: were they "
            "trained on the same base model?"
        )
    return common


def _describe(names: Sequence[str], path: str, shapes: Mapping[int, _Shape]) -> LayerOutline:
    first, (outputs, inputs, _, dtype) = next(iter(shapes.items()))
    for index, shape in shapes.items():
        if (shape.outputs, shape.inputs) != (outputs, inputs):
            raise IncompatibleExpert(
                f"experts must change layers of one shape, but in module {path!r} expert {names[first]!r} "
                f"has [{outputs}, {inputs}] and expert {names[index]!r} has "
                f"[{shape.outputs}, {shape.inputs}]: were they trained on the same base model?"
            )
        dtype = torch.promote_types(dtype, shape.dtype)
    ranks = tuple(shapes[index].rank if index in shapes else 0 for index in range(len(names)))
    return LayerOutline(path=path, outputs=outputs, inputs=inputs, ranks=ranks, dtype=dtype)
