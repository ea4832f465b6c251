"""Arrow prototypes: for each expert and layer, the unit input that the expert amplifies most.

``arrow_prototypes`` computes them from factors, ``library_prototypes`` for a whole library.

Shape letters: E experts, R rank, I layer input, O layer output.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from lorary.errors import FormatError
from lorary.experts import Expert
from lorary.lowrank.leading import leading_right_singular
from lorary.transforms.stacks import FactorBatch, Progress, batch_factors, choose_names


def arrow_prototypes(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the unit input that each expert amplifies most, and its gain.

    An expert adds ``b @ a`` to its layer's weight. Its prototype is the leading right singular vector of that
    product, computed from an eigenproblem of size R; the gain is the leading singular value.

    Args:
        a: down-projections, ``[E, R, I]``.
        b: up-projections, ``[E, O, R]``.

    Returns:
        Prototypes ``[E, I]`` with unit rows, and gains ``[E]``, both float32. A prototype's sign is
        arbitrary. An untrained expert (``b = 0``) has gain 0 and a prototype of zeros, so every token has
        score 0 for it. If a factor has NaN or infinite values, so have its results.

    Raises:
        ValueError: if ``a`` and ``b`` disagree on E or R.

    Source: Arrow, arXiv:2405.11157.
    """
    if a.ndim != 3:
        raise ValueError(f"a must be [E, R, I], one down-projection per expert, found {list(a.shape)}")
    prototypes, gains = leading_right_singular(a.detach(), b.detach())
    return prototypes.float(), gains.float()


def library_prototypes(
    experts: Mapping[str, Expert], names: Sequence[str] | None = None, on_progress: Progress | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Compute the prototypes of all experts, at each layer that at least one of them changes.

    Experts are read one after the other; prototypes of many experts and layers are computed at once.

    Args:
        experts: a library or any other mapping.
        names: the experts, in the order of the result's rows; None for those of ``list_routed``.
        on_progress: called with the number of experts read and of all experts.

    Returns:
        Module path -> prototypes ``[E, I]`` and gains ``[E]``, both float32, as from `arrow_prototypes`. An
        expert without that layer has zeros.

    Raises:
        ValueError: if there are no experts, or a name is given twice.
        UnknownExpert: if there is no expert of a name.
        IncompatibleExpert: if two experts have different shapes of a layer.
        FormatError: if an expert has NaN or infinite weights.
    """
    chosen = choose_names(experts, names, "computing prototypes")
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for batch in batch_factors(experts, chosen, on_progress):
        prototypes, gains = (
            part.unflatten(0, batch.a.shape[:2])
            for part in arrow_prototypes(batch.a.flatten(0, 1), batch.b.flatten(0, 1))
        )
        _refuse_not_finite(chosen, batch, gains)
        for path, own_rows, own_gains in zip(batch.paths, prototypes, gains, strict=True):
            if path not in found:
                found[path] = (
                    own_rows.new_zeros(len(chosen), own_rows.shape[1]),
                    own_gains.new_zeros(len(chosen)),
                )
            all_rows, all_gains = found[path]
            all_rows[batch.where] = own_rows
            all_gains[batch.where] = own_gains
    return {path: found[path] for path in sorted(found)}


def _refuse_not_finite(names: list[str], batch: FactorBatch, gains: Tensor) -> None:
    if gains.isfinite().all():
        return
    layer, index = (~gains.isfinite()).nonzero()[0].tolist()
    raise FormatError(
        f"an expert's weights must be finite, but expert {names[batch.where.start + index]!r} has NaN, "
        f"infinite or overflowing values in module {batch.paths[layer]!r}: train it again or remove it"
    )
