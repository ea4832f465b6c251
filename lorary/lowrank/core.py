"""Core space: coordinates in which weight changes of a few experts are small matrices, without loss.

Shape letters: E experts, R rank, S sum of the ranks, I layer input, O layer output, N and M directions of the
inputs and outputs that any expert uses.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lorary.lowrank.pairs import match_pair
from lorary.lowrank.root import gram_root


class CoreSpace(NamedTuple):
    """Bases of the experts' inputs and outputs in a layer, and their weight changes in these coordinates."""

    basis_a: Tensor
    """Orthonormal input directions, ``[I, N]``."""
    basis_b: Tensor
    """Orthonormal output directions, ``[O, M]``."""
    pairs: list[tuple[Tensor, Tensor]]
    """Factors ``(a [R, N], b [M, R])`` of each expert's core ``b @ a = basis_b^T D_e basis_a``."""


def core_space(pairs: Sequence[tuple[Tensor, Tensor]]) -> CoreSpace:
    """Find coordinates in which experts' weight changes ``D_e = b_e @ a_e`` are small, without loss.

    The input directions are the right singular vectors of ``[D_1; ...; D_E]``, the output directions the left
    ones of ``[D_1 ... D_E]``. Unlike a basis of the stacked factors themselves, these do not depend on how a
    weight change is factored or on the experts' order (except for signs and equal singular values).

    Args:
        pairs: one ``(a [R_e, I], b [O, R_e])`` per expert; ranks may differ.

    Returns:
        ``basis_b @ (b @ a) @ basis_a^T`` is each expert's weight change again; in float64. If all are zero,
        there is one direction on each side.

    Source: Core Space merging, arXiv:2509.17786; KnOTS, arXiv:2410.19735, for the output side.
    """
    wide = [(a.double(), b.double()) for a, b in (match_pair(*pair) for pair in pairs)]
    basis_a, _ = input_basis(wide)
    basis_b, _ = output_basis(wide)
    cores = [(a @ basis_a, basis_b.mT @ b) for a, b in wide]
    return CoreSpace(basis_a, basis_b, cores)


def input_basis(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Find the right singular vectors ``[I, N]`` of ``[D_1; ...; D_E]`` and their singular values ``[N]``.

    Args:
        pairs: one ``(a [R_e, I], b [O, R_e])`` per expert, float64.
    """
    return _leading_basis(torch.cat([_root_of(b.mT).mT @ a for a, b in pairs]))


def output_basis(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Find the left singular vectors ``[O, M]`` of ``[D_1 ... D_E]`` and their singular values ``[M]``.

    Args:
        pairs: one ``(a [R_e, I], b [O, R_e])`` per expert, float64.
    """
    return _leading_basis(torch.cat([(b @ _root_of(a)).mT for a, b in pairs]))


def _root_of(rows: Tensor) -> Tensor:
    return gram_root((rows @ rows.mT)[None])[0]


def _leading_basis(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Find the significant right singular vectors of ``rows [S, I]``, and their singular values."""
    if rows.shape[0] > rows.shape[1]:
        squared, vectors = torch.linalg.eigh(rows.mT @ rows)
    else:
        squared, left = torch.linalg.eigh(rows @ rows.mT)
        vectors = rows.mT @ left
    values = squared.clamp(min=0).sqrt().flip(0)
    # Weaker directions, relative to the strongest, are rounding errors of the Gram matrix.
    smallest = 4 * (len(rows) * torch.finfo(rows.dtype).eps) ** 0.5 * values[0]
    count = max(1, int((values > smallest).sum()))
    return _straighten(vectors.flip(1)[:, :count]), values[:count]


def _straighten(vectors: Tensor) -> Tensor:
    """Make nearly orthogonal columns orthonormal: from a Gram matrix, weak ones are not quite orthogonal."""
    lengths = torch.linalg.vector_norm(vectors, dim=0)
    if not lengths.all():
        # All experts are zero: any direction will do.
        return torch.eye(vectors.shape[0], 1, dtype=vectors.dtype)
    unit = vectors / lengths
    root = torch.linalg.cholesky(unit.mT @ unit)
    return torch.linalg.solve_triangular(root.mT, unit, upper=True, left=False)
