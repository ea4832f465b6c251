"""Experts in, something out: pure functions of any ``Mapping[str, Expert]``, which a library is."""

from lorary.transforms.control import random_expert
from lorary.transforms.prototypes import arrow_prototypes, library_prototypes
from lorary.transforms.stacks import FactorBatch, batch_factors, stack_factors

__all__ = [
    "FactorBatch",
    "arrow_prototypes",
    "batch_factors",
    "library_prototypes",
    "random_expert",
    "stack_factors",
]
