"""Factors of layers that a base model joins into one, such as the gate and the up-projection of a mixture.

R rank, I layer input, O layer output, S sum of the ranks of the joined layers.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lorary.experts.factors import Factors
from lorary.experts.stored_factors import LazyFactors


class Piece(NamedTuple):
    """A layer that is a block of rows of a joined layer."""

    path: str
    """Module path of the layer, as in the expert."""
    part: int = 0
    """Its place among the joined layers, which have the same number of rows."""
    parts: int = 1
    """Number of joined layers."""


class FusedFactors(LazyFactors):
    """The factors of an expert by other module paths, joined exactly when they are read.

    The joined factors are ``a``, one below the other, and ``b``, each in its own columns and block of rows.

    Args:
        factors: the expert's own factors.
        pieces: new module path -> the layers that it consists of, in the expert's paths.
        outlines: new module path -> factors for shapes and dtypes only, from ``outline_pieces``; one object
            for all experts of the same layout.
    """

    def __init__(
        self,
        factors: Mapping[str, Factors],
        pieces: Mapping[str, Sequence[Piece]],
        outlines: Mapping[str, Factors],
    ):
        self._factors = factors
        self._pieces = pieces
        self._outlines = outlines

    @property
    def outlines(self) -> Mapping[str, Factors]:
        """Factors on the meta device, for shapes and dtypes only."""
        return self._outlines

    def rename_modules(self, paths: Mapping[str, str]) -> "FusedFactors":
        """Return the same factors with other module paths, without reading values."""
        return FusedFactors(
            self._factors,
            {new: self._pieces[old] for old, new in paths.items()},
            {new: self._outlines[old] for old, new in paths.items()},
        )

    def __getitem__(self, path: str) -> Factors:
        """Return one module's factors; read the expert's at the first access."""
        return _join([(self._factors[piece.path], piece) for piece in self._pieces[path]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)


def outline_pieces(
    outlines: Mapping[str, Factors], pieces: Mapping[str, Sequence[Piece]]
) -> dict[str, Factors]:
    """Return the shapes and dtypes of joined factors, on the meta device.

    Args:
        outlines: module path -> an expert's factors, for shapes and dtypes.
        pieces: as of ``FusedFactors``.
    """
    known = {path: Factors(pair.a.to("meta"), pair.b.to("meta")) for path, pair in outlines.items()}
    return {path: _join([(known[each.path], each) for each in own]) for path, own in pieces.items()}


def _join(pairs: Sequence[tuple[Factors, Piece]]) -> Factors:
    if len(pairs) == 1 and pairs[0][1].parts == 1:
        return pairs[0][0]
    return Factors(
        _cat([pair.a for pair, _ in pairs], dim=0),
        _cat([_place(pair.b, piece) for pair, piece in pairs], dim=1),
    )


def _place(b: Tensor, piece: Piece) -> Tensor:
    """Put up-projections into their block of rows of the joined layer."""
    rows = len(b)
    placed = b.new_zeros(rows * piece.parts, b.shape[1])
    placed[rows * piece.part : rows * (piece.part + 1)] = b
    return placed


def _cat(tensors: Sequence[Tensor], dim: int) -> Tensor:
    dtype = tensors[0].dtype
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return torch.cat([tensor.to(dtype) for tensor in tensors], dim=dim)
