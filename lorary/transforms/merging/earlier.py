"""Recipes that use the results of other recipes as experts."""

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import replace

from lorary.experts import Expert
from lorary.files import quote
from lorary.transforms.merging.recipe.recipe import MergeRecipe


def find_shadowed(experts: Mapping[str, Expert], recipe: MergeRecipe) -> tuple[str, ...]:
    """Return a sentence for each expert that has the same name as an earlier recipe's result."""
    return tuple(
        f"expert {quote(name)} of the library: in this recipe the name means the result of another document"
        for name in recipe.earlier
        if name in experts
    )


def add_earlier(
    experts: Mapping[str, Expert], recipe: MergeRecipe, make: Callable[[MergeRecipe, str], Expert]
) -> Mapping[str, Expert]:
    """Return the experts together with the results of the earlier recipes that a recipe uses.

    Args:
        experts: a library or any other mapping.
        recipe: the recipe.
        make: function of an earlier recipe and a name that makes its result. A recipe without a rank is given
            rank ``"full"``, so that only the last merge truncates.
    """
    if not recipe.earlier:
        return experts
    made = {
        name: make(other if other.rank is not None else replace(other, rank="full"), name)
        for name, other in recipe.earlier.items()
    }
    # ChainMap needs a MutableMapping to write; this one is only read.
    return ChainMap(made, experts)  # type: ignore[arg-type]
