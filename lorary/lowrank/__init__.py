"""Maths on stacks of factor pairs ``b @ a``: pure functions, batched, that never form the product itself."""

from lorary.lowrank.gram import frobenius_norm, gram_inner
from lorary.lowrank.leading import leading_right_singular
from lorary.lowrank.pairs import match_pair, pad_ranks
from lorary.lowrank.svd import thin_svd

__all__ = [
    "frobenius_norm",
    "gram_inner",
    "leading_right_singular",
    "match_pair",
    "pad_ranks",
    "thin_svd",
]
