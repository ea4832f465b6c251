"""Pure functions of a ``Mapping[str, Expert]``, such as a library: merging, clustering, comparing."""

from lorary.transforms.clustering import cluster_experts
from lorary.transforms.control import random_expert
from lorary.transforms.general import subtract_general
from lorary.transforms.merging import (
    MergeRecipe,
    make_recipe,
    merge,
    merge_by_recipe,
    plan_merge,
    read_recipe,
)
from lorary.transforms.similarity import expert_similarity

__all__ = [
    "MergeRecipe",
    "cluster_experts",
    "expert_similarity",
    "make_recipe",
    "merge",
    "merge_by_recipe",
    "plan_merge",
    "random_expert",
    "read_recipe",
    "subtract_general",
]
