"""Maths on stacks of factor pairs ``b @ a``: pure functions, batched, that rarely form the product itself."""

from lorary.lowrank.compress import Compressed, compress, compress_dense
from lorary.lowrank.core import CoreSpace, core_space, input_basis, output_basis
from lorary.lowrank.gram import frobenius_norm, gram_inner
from lorary.lowrank.leading import leading_right_singular
from lorary.lowrank.pairs import match_pair, pad_ranks
from lorary.lowrank.root import gram_root
from lorary.lowrank.sketch import sketch_pairs
from lorary.lowrank.svd import thin_svd
from lorary.lowrank.weighted_sum import weighted_sum

__all__ = [
    "Compressed",
    "CoreSpace",
    "compress",
    "compress_dense",
    "core_space",
    "frobenius_norm",
    "gram_inner",
    "gram_root",
    "input_basis",
    "leading_right_singular",
    "match_pair",
    "output_basis",
    "pad_ranks",
    "sketch_pairs",
    "thin_svd",
    "weighted_sum",
]
