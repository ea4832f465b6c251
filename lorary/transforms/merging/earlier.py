"""Recipes that name the results of other recipes."""

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import replace

from lorary.experts import Expert
from lorary.files import quote
from lorary.transforms.merging.recipe.recipe import MergeRecipe


def find_shadowed(experts: Mapping[str, Expert], recipe: MergeRecipe) -> tuple[str, ...]:
    """Say which experts the recipe cannot mean, because an earlier recipe has the name."""
    return tuple(
        f"expert {quote(name)} of the library: in this recipe the name means another document's result"
        for name in recipe.earlier
        if name in experts
    )


def add_earlier(
    experts: Mapping[str, Expert], recipe: MergeRecipe, make: Callable[[MergeRecipe, str], Expert]
) -> Mapping[str, Expert]:
    """Give experts together with the results of the earlier recipes that a recipe names.

    Args:
        experts: a library or any other mapping.
        recipe: the recipe.
        make: makes an earlier recipe's result, of a name. Nothing is cut from it unless that recipe has a
            rank: only the last merge is cut.
    """
    if not recipe.earlier:
        return experts
    made = {
        name: make(other if other.rank is not None else replace(other, rank="full"), name)
        for name, other in recipe.earlier.items()
    }
    # Read only: nothing is ever put into it.
    return ChainMap(made, experts)  # type: ignore[arg-type]
