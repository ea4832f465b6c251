"""Experts in, something out: pure functions of any ``Mapping[str, Expert]``, which a library is."""

from lorary.transforms.clustering import Clusters, center_similarity, cluster_experts
from lorary.transforms.control import random_expert
from lorary.transforms.general import subtract_general
from lorary.transforms.merging import (
    MERGES,
    MergePlan,
    MergeRecipe,
    make_recipe,
    merge,
    merge_by_recipe,
    plan_merge,
    read_recipe,
    read_recipes,
)
from lorary.transforms.prototypes import arrow_prototypes, library_prototypes
from lorary.transforms.similarity import expert_similarity
from lorary.transforms.sparse_similarity import sparse_similarity
from lorary.transforms.stacks import FactorBatch, batch_factors, stack_factors
from lorary.transforms.tied import tied_prototypes

__all__ = [
    "MERGES",
    "Clusters",
    "FactorBatch",
    "MergePlan",
    "MergeRecipe",
    "arrow_prototypes",
    "batch_factors",
    "center_similarity",
    "cluster_experts",
    "expert_similarity",
    "library_prototypes",
    "make_recipe",
    "merge",
    "merge_by_recipe",
    "plan_merge",
    "random_expert",
    "read_recipe",
    "read_recipes",
    "sparse_similarity",
    "stack_factors",
    "subtract_general",
    "tied_prototypes",
]
