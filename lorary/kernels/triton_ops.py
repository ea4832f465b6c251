"""The operators of ``cpu.py`` for CUDA devices, in Triton; ``TRITON_INTERPRET=1`` runs them on CPUs, slowly.

Few pairs of a token and an expert, as in a decode step, are computed one by one; many are sorted by expert
first. Shapes and dtypes are checked. Whether experts exist is not checked, which would take longer than a
layer: nothing is read for an unknown expert, and its result is NaN, or 0 in rank space. A rank beyond R
counts as R.

T tokens, E experts, R rank, K experts per token.
"""

from torch import Tensor

from lorary.kernels.checks import check_expand, check_mix, check_shrink
from lorary.kernels.triton_blocks import cut_blocks
from lorary.kernels.triton_choose import choose_along, choose_best
from lorary.kernels.triton_device import lay_out_all, on_its_device
from lorary.kernels.triton_grouped import expand_blocks, gather_rows, shrink_blocks
from lorary.kernels.triton_pairs import expand_tokens, shrink_pairs

FOR_ANY_SIZE = True
FEW_PAIRS = 512


@on_its_device
def mix_rows(
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    onto: Tensor | None,
    combine: str,
    ranks: Tensor | None = None,
) -> Tensor:
    """Shrink, weight and expand; see ``cpu.mix_rows``."""
    check_mix(x, a, b_t, indices, weights, onto, combine, ranks)
    x, a, b_t, indices, weights, onto, ranks = lay_out_all(x, a, b_t, indices, weights, onto, ranks)
    if indices.numel() <= FEW_PAIRS:
        shrunk = shrink_pairs(x, a, indices, weights, ranks)
        return expand_tokens(shrunk, weights, b_t, indices, onto, combine, ranks)
    blocks = cut_blocks(indices, len(a), weights)
    return expand_blocks(shrink_blocks(x, a, blocks, ranks), weights, b_t, blocks, onto, combine, ranks)


@on_its_device
def mix_rows_kept(
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    onto: Tensor | None,
    combine: str,
    ranks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Do the same, and keep the values that gradients need; see ``cpu.mix_rows_kept``."""
    check_mix(x, a, b_t, indices, weights, onto, combine, ranks)
    x, a, b_t, indices, weights, onto, ranks = lay_out_all(x, a, b_t, indices, weights, onto, ranks)
    if indices.numel() <= FEW_PAIRS:
        shrunk = shrink_pairs(x, a, indices, None, ranks)
        return expand_tokens(shrunk, weights, b_t, indices, onto, combine, ranks), shrunk
    blocks = cut_blocks(indices, len(a))
    shrunk = shrink_blocks(x, a, blocks, ranks)
    return expand_blocks(shrunk, weights, b_t, blocks, onto, combine, ranks), shrunk


@on_its_device
def shrink_rows(x: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
    """Project each token into its experts' rank spaces; see ``cpu.shrink_rows``."""
    check_shrink(x, factors, indices)
    x, factors, indices = lay_out_all(x, factors, indices)
    if indices.numel() <= FEW_PAIRS:
        return shrink_pairs(x, factors, indices, None, None)
    return shrink_blocks(x, factors, cut_blocks(indices, len(factors)), None)


@on_its_device
def expand_rows(weighed: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
    """Add up experts' rows, weighted by numbers from rank space; see ``cpu.expand_rows``."""
    check_expand(weighed, factors, indices)
    factors, weighed, indices = lay_out_all(factors, weighed, indices)
    if indices.numel() <= FEW_PAIRS:
        return expand_tokens(weighed, None, factors, indices, None, "outputs", None)
    blocks = cut_blocks(indices, len(factors))
    return expand_blocks(weighed, None, factors, blocks, None, "outputs", None)


__all__ = [
    "FOR_ANY_SIZE",
    "choose_along",
    "choose_best",
    "expand_rows",
    "gather_rows",
    "mix_rows",
    "mix_rows_kept",
    "shrink_rows",
]
