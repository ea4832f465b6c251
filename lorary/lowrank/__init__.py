"""Functions of stacks of factor pairs ``b @ a``: pure and batched; they rarely form the product itself."""

from lorary.lowrank.compress import compress, compress_dense
from lorary.lowrank.core import core_space
from lorary.lowrank.gram import frobenius_norm, gram_inner
from lorary.lowrank.svd import thin_svd
from lorary.lowrank.weighted_sum import weighted_sum

__all__ = [
    "compress",
    "compress_dense",
    "core_space",
    "frobenius_norm",
    "gram_inner",
    "thin_svd",
    "weighted_sum",
]
