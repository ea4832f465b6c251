"""Merging experts into one, layer by layer. Each method is a function of one layer, in its own file.

``merge`` and ``merge_by_recipe`` merge, ``plan_merge`` estimates time and memory, ``MERGES`` lists the
methods. Entry-wise methods combine three steps: which entries of an expert are kept (``sparsify``), how the
entries of several experts are combined (``elect``), and how the result is scaled.
"""

from lorary.transforms.merging.kind import MergeKind
from lorary.transforms.merging.layer import Change, LowRank, MergeLayer
from lorary.transforms.merging.merge import merge, merge_by_recipe
from lorary.transforms.merging.methods.table import MERGES, merge_named
from lorary.transforms.merging.plan import MergePlan, PlannedLayer, plan_merge
from lorary.transforms.merging.recipe.arguments import make_recipe
from lorary.transforms.merging.recipe.keys import PARAMETER_KEYS, RECIPE_KEYS, SLICE_KEYS, RecipeKey
from lorary.transforms.merging.recipe.mergekit import MERGEKIT, MergekitMethod
from lorary.transforms.merging.recipe.recipe import MergeRecipe, RecipeModel, RecipeSlice
from lorary.transforms.merging.recipe.recipe_file import (
    describe_recipe,
    parse_recipe,
    read_recipe,
    read_recipes,
)

__all__ = [
    "MERGEKIT",
    "MERGES",
    "PARAMETER_KEYS",
    "RECIPE_KEYS",
    "SLICE_KEYS",
    "Change",
    "LowRank",
    "MergeKind",
    "MergeLayer",
    "MergePlan",
    "MergeRecipe",
    "MergekitMethod",
    "PlannedLayer",
    "RecipeKey",
    "RecipeModel",
    "RecipeSlice",
    "describe_recipe",
    "make_recipe",
    "merge",
    "merge_by_recipe",
    "merge_named",
    "parse_recipe",
    "plan_merge",
    "read_recipe",
    "read_recipes",
]
