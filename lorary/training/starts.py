"""Experts that trainings start from: their checks, their identity, and their factors at the trained rank.

R trained rank, I layer input, O layer output.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors
from lorary.experts.expert import check_finite
from lorary.experts.parts import require_low_rank
from lorary.experts.random_start import find_start_seed
from lorary.files import quote, say_count
from lorary.lowrank import compress, frobenius_norm
from lorary.models import BaseModel
from lorary.models.check_base import check_base
from lorary.models.check_expert import check_expert
from lorary.models.fit_paths import fit_paths
from lorary.training.folder.digests import hash_tensors


class FittedStart(NamedTuple):
    """A start at the rank of the experts in training."""

    factors: dict[str, Factors]
    """Module path -> ``a [R', I]`` and ``b [O, R']``, float32, with R' at most R."""
    error: float
    """Relative truncation error in the Frobenius norm; 0 if nothing was truncated."""


class Starts:
    """The starts of a run: checked, identified, and fitted when a training begins.

    Args:
        base: the base model.
        layers: module paths of the layers in training.
        names: names of the experts in training.
        starts: name of an expert in training -> the expert that its training starts from. Others have no
            start.

    Raises:
        TypeError: if a start is not an ``Expert``.
        ValueError: if a name is not that of an expert in training.
        IncompatibleExpert: if a start is for another base model, changes layers that are not trained, or has
            more than low-rank factors.
        FormatError: if a start has values that are not finite.
    """

    def __init__(
        self,
        base: BaseModel,
        layers: Mapping[str, Any],
        names: Mapping[str, Any],
        starts: Mapping[str, Expert],
    ):
        for name, start in starts.items():
            if name not in names:
                raise ValueError(
                    f"a start must belong to an expert in training ({', '.join(map(repr, names))}), found "
                    f"{quote(name, 140)}"
                )
            if not isinstance(start, Expert):
                raise TypeError(f"the start of {name!r} must be an Expert, found {quote(start, 60)}")
        require_low_rank(starts.values(), "a training's start")
        check_base(base, *starts.values())
        self._starts = fit_paths(base.model, starts)
        different = {id(start): start for start in self._starts.values()}
        for start in different.values():
            check_expert(base.model, start)
            refuse_untrained(start, layers)
            check_finite(start)
        digests = {key: hash_start(start) for key, start in different.items()}
        self.digests = {name: digests[id(start)] for name, start in self._starts.items()}
        """Name -> hash of the weights of its start."""

    def __contains__(self, name: str) -> bool:
        return name in self._starts

    def fit(self, name: str, rank: int) -> FittedStart | None:
        """Return the start of an expert in training, truncated to a rank; None if it has none."""
        return fit_start(self._starts[name], rank) if name in self._starts else None

    def describe(self, name: str, error: float) -> dict[str, Any]:
        """Describe the start of an expert in training for its card."""
        return {
            "expert": self._starts[name].name,
            "weights": self.digests[name],
            "relative_error": error,
        }

    def find_start_seed(self, name: str) -> int | None:
        """Return the seed of the random ``a`` that an expert's start itself began with, if it is known."""
        return find_start_seed(self._starts[name])

    def parents(self, name: str) -> tuple[str, ...]:
        """Return the name of the start of an expert in training, if it has one."""
        return (self._starts[name].name,) if name in self._starts else ()


def hash_start(start: Expert) -> str:
    """Hash the factors of an expert, with module paths, dtypes and shapes."""
    tensors = {
        f"{path}.{letter}": tensor.detach().cpu()
        for path, pair in start.factors.items()
        for letter, tensor in zip("ab", pair, strict=True)
    }
    return hash_tensors("start", tensors)


@torch.no_grad()
def fit_start(start: Expert, rank: int) -> FittedStart:
    """Return factors of at most a rank that are the start, or the best approximation of it in each layer.

    Args:
        start: the expert.
        rank: R.
    """
    factors: dict[str, Factors] = {}
    cut = whole = 0.0
    for path, (a, b) in start.factors.items():
        wide_a, wide_b = a.detach().cpu().float(), b.detach().cpu().float()
        found = compress(wide_a, wide_b, rank=rank)
        factors[path] = Factors(found.a, found.b)
        if len(wide_a) > rank:
            squared = _square_norm(wide_a, wide_b)
            cut, whole = cut + found.error**2 * squared, whole + squared
        else:
            whole += _square_norm(wide_a, wide_b)
    return FittedStart(factors, (cut / whole) ** 0.5 if cut else 0.0)


def _square_norm(a: Tensor, b: Tensor) -> float:
    return float(frobenius_norm(a.double(), b.double())) ** 2


def refuse_untrained(start: Expert, layers: Mapping[str, Any]) -> None:
    """Refuse a start that changes layers that are not trained.

    Args:
        start: the expert, with the base model's paths.
        layers: module paths of the layers in training.

    Raises:
        IncompatibleExpert: naming the expert and the first such layer.
    """
    left_out = [path for path in start.outlines if path not in layers]
    if left_out:
        raise IncompatibleExpert(
            f"expert {start.name!r} cannot be a start: it changes {say_count(len(left_out), 'layer')} that "
            f"would not be trained, such as {quote(left_out[0], 100)}: set target_modules so that all of its "
            "layers are trained"
        )
