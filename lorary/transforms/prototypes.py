"""Arrow prototypes: for each expert and layer, the unit input that the expert amplifies most.

Shape letters: E experts, R rank, I layer input, O layer output.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite

import torch
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts import Expert
from lorary.lowrank import leading_right_singular
from lorary.transforms.stacks import FactorBatch, Progress, batch_factors, choose_names


def arrow_prototypes(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Find the unit input each expert amplifies most, and by how much.

    An expert adds ``b @ a`` to its layer's weight; its prototype is the leading right singular vector of that
    product, found from an eigenproblem of size R.

    Args:
        a: down-projections, ``[E, R, I]``.
        b: up-projections, ``[E, O, R]``.

    Returns:
        Prototypes ``[E, I]`` with unit rows, and gains ``[E]``, both float32. A prototype's sign is
        arbitrary. An untrained expert (``b = 0``) has gain 0 and a prototype of zeros, so that every token
        scores 0 for it. Where a factor is not finite, neither is the answer.

    Raises:
        ValueError: if ``a`` and ``b`` disagree on E or R.

    Source: Arrow, arXiv:2405.11157.
    """
    if a.ndim != 3:
        raise ValueError(f"a must be [E, R, I], one down-projection per expert, found {list(a.shape)}")
    prototypes, gains = leading_right_singular(a.detach(), b.detach())
    return prototypes.float(), gains.float()


def library_prototypes(
    experts: Mapping[str, Expert], names: Sequence[str] | None = None, progress: Progress | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Find the prototypes of all experts at every layer that one of them changes.

    Experts are read one after the other, and computed over many of them and many layers at once.

    Args:
        experts: a library or any other mapping.
        names: the experts, in the order of the answer's rows; None for all, in the mapping's order.
        progress: called with the number of experts read and the number of all.

    Returns:
        Module path -> prototypes ``[E, I]`` and gains ``[E]``, both float32, as `arrow_prototypes` gives
        them. An expert without that layer has zeros.

    Raises:
        ValueError: if there are no experts, or one is named twice.
        UnknownExpert: if a name is not among the experts.
        IncompatibleExpert: if two experts disagree on the shape of a layer.
        FormatError: if an expert's weights are not finite.
    """
    chosen = choose_names(experts, names)
    found: dict[str, dict[int, tuple[Tensor, float]]] = defaultdict(dict)
    for batch in batch_factors(experts, chosen, progress):
        prototypes, gains = arrow_prototypes(batch.a, batch.b)
        _refuse_not_finite(chosen, batch, values := gains.tolist())
        for (path, index), prototype, gain in zip(batch.places, prototypes.unbind(), values, strict=True):
            found[path][index] = (prototype, gain)
    return {path: _gather_rows(found.pop(path), len(chosen)) for path in sorted(found)}


def _refuse_not_finite(names: list[str], batch: FactorBatch, gains: list[float]) -> None:
    for (path, index), gain in zip(batch.places, gains, strict=True):
        if not isfinite(gain):
            raise FormatError(
                f"an expert's weights must be finite, but expert {names[index]!r} has NaN, infinite or "
                f"overflowing ones in module {path!r}: train it again or remove it"
            )


def _gather_rows(rows: dict[int, tuple[Tensor, float]], count: int) -> tuple[Tensor, Tensor]:
    """Bring one layer's rows into the experts' order, ``[E, I]`` and ``[E]``, zeros for the missing."""
    some, _ = next(iter(rows.values()))
    missing = (torch.zeros_like(some), 0.0)
    prototypes, gains = zip(*(rows.get(index, missing) for index in range(count)), strict=True)
    return torch.stack(prototypes), torch.tensor(gains, dtype=torch.float32, device=some.device)
