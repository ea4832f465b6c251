"""Which layers experts have, without reading their numbers, and whether the experts can be merged at all.

Shape letters: I layer input, O layer output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import torch

from lorary.errors import IncompatibleExpert
from lorary.experts import BaseIdentity, Expert, ExpertCard, is_same_base
from lorary.files import quote

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
    bases: list[tuple[str, ExpertCard]] = []
    for index, name in enumerate(names):
        expert = experts[name]
        bases.append((expert.base_model, expert.card))
        for path, (a, b) in expert.outlines.items():
            dtype = torch.promote_types(a.dtype, b.dtype)
            found.setdefault(path, {})[index] = _Shape(b.shape[0], a.shape[1], a.shape[0], dtype)
    check_bases(names, bases)
    chosen = _choose_paths(names, found, layers)
    return Survey(
        names=tuple(names),
        base_model=next((name for name, _ in bases if name), ""),
        cards=tuple(card for _, card in bases),
        layers=tuple(_describe(names, path, found[path]) for path in chosen),
    )


class _Shape(NamedTuple):
    outputs: int
    inputs: int
    rank: int
    dtype: torch.dtype


def check_bases(names: Sequence[str], bases: Sequence[tuple[str, ExpertCard]]) -> None:
    """Refuse experts of which any two are for different base models.

    Args:
        names: the experts'.
        bases: each one's base model and card.

    Raises:
        IncompatibleExpert: naming the two.
    """
    different: dict[BaseIdentity, str] = {}
    for name, (base_model, card) in zip(names, bases, strict=True):
        different.setdefault(BaseIdentity(base_model, card.base_fingerprint, card.base_revision), name)
    # Each with each: one that says little fits others that do not fit each other.
    for (one, one_name), (other, name) in combinations(different.items(), 2):
        if not is_same_base(one, other):
            raise IncompatibleExpert(
                f"experts that are put together must be for one base model, but expert {one_name!r} is for "
                f"{quote(one.name)} and expert {name!r} for {quote(other.name)}{_tell_apart(one, other)}: "
                "name experts of one base model"
            )


def _tell_apart(one: BaseIdentity, other: BaseIdentity) -> str:
    if one.fingerprint and other.fingerprint:
        return f" (fingerprints {quote(one.fingerprint)} and {quote(other.fingerprint)})"
    if one.revision and other.revision and one.revision != other.revision:
        return f" (revisions {quote(one.revision)} and {quote(other.revision)})"
    return ""


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
            f"alone, and {len(found) - len(common)} of {len(found)} modules are not changed by all: choose "
            f"layers 'common' to merge the {len(common)} that are, or 'all' to count what is missing as zero"
        )
    if not common:
        raise IncompatibleExpert(
            f"the {len(names)} experts have no module in common, so nothing of them can be merged: were they "
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
