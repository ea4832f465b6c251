"""The role of each model in a recipe: an expert, the base model, or the origin of weight changes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.experts import BaseIdentity, Expert, is_same_base
from lorary.files import quote
from lorary.transforms.merging.kind import MergeKind
from lorary.transforms.merging.recipe.recipe import MergeRecipe, RecipeModel, find_count_fault


@dataclass(frozen=True, kw_only=True)
class Placing:
    """The models that a method merges, and their roles."""

    models: tuple[RecipeModel, ...]
    """The models to merge in the method's order, with their parameters."""
    zeros: frozenset[str]
    """Names of models that are the base model, whose weight change is zero."""
    origin: str | None
    """The expert to which weight changes are relative; None for the base model."""
    ignored: tuple[str, ...]
    """Sentences about parameters that have no effect."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all experts to read, without duplicates."""
        given = [model.model for model in self.models if model.model not in self.zeros]
        return (*given, *([] if self.origin is None else [self.origin]))


def name_experts(experts: Mapping[str, Expert], recipe: MergeRecipe) -> MergeRecipe:
    """Return the recipe with hub ids replaced by names of experts.

    Args:
        experts: a library or any other mapping.
        recipe: the recipe. A hub id is replaced if only its last part is the name of an expert.
    """

    def find(text: str) -> str:
        last = text.rsplit("/", 1)[-1]
        return last if "/" in text and text not in experts and last in experts else text

    def rename(models: tuple[RecipeModel, ...]) -> tuple[RecipeModel, ...]:
        return tuple(replace(model, model=find(model.model)) for model in models)

    return replace(
        recipe,
        models=rename(recipe.models),
        slices=tuple(replace(part, models=rename(part.models)) for part in recipe.slices),
        base_model=None if recipe.base_model is None else find(recipe.base_model),
    )


def place_models(experts: Mapping[str, Expert], recipe: MergeRecipe, rules: MergeKind) -> Placing:
    """Find the role of each model of a recipe, and put the base model where the method needs it.

    Args:
        experts: a library or any other mapping.
        recipe: the recipe.
        rules: properties of the recipe's method.

    Raises:
        UnknownExpert: if a model is neither an expert nor the experts' base model.
        IncompatibleExpert: if the recipe is for another base model.
        ValueError: if the method needs another number of experts.
    """
    base_model = _find_base_model(experts, recipe)
    zeros = {name for name in recipe.names if name not in experts and _is_base(recipe, name, base_model)}
    for name in recipe.names:
        if name not in experts and name not in zeros:
            raise UnknownExpert(name, experts, "the library")
    _check_base(experts, recipe, base_model)
    models, base = list(recipe.models), _find_base(experts, recipe, zeros)
    ignored: tuple[str, ...] = ()
    if rules.base == "origin":
        bases = [model for model in models if model.model in zeros or model.model == base]
        models = [model for model in models if model not in bases]
        ignored = tuple(
            f"parameters of {quote(model.model)}: weight changes are relative to it"
            for model in bases
            if model.parameters
        )
    elif rules.base != "listed" and base is not None:
        own = next((model for model in models if model.model == base), None)
        if own is None:
            own = RecipeModel(model=base)
            models.append(own)
        if rules.base == "first":
            models.remove(own)
            models.insert(0, own)
        zeros |= {base} - set(experts)
    if fault := find_count_fault(recipe.merge_method, rules, len(models)):
        raise ValueError(fault)
    if all(model.model in zeros for model in models):
        raise ValueError("at least one expert is needed to merge, found only the base model")
    return Placing(
        models=tuple(models),
        zeros=frozenset(zeros),
        origin=base if rules.base == "origin" and base in experts else None,
        ignored=ignored,
    )


def _find_base_model(experts: Mapping[str, Expert], recipe: MergeRecipe) -> str:
    """Return the name of the first known base model of an expert, or ``""``."""
    names = [name for name in (*recipe.names, recipe.base_model) if name in experts]
    return next((base for name in names if name is not None and (base := experts[name].base_model)), "")


def _is_base(recipe: MergeRecipe, name: str, base_model: str) -> bool:
    is_named = name == recipe.base_model or name in {model.base for model in recipe.models}
    return is_named or (base_model != "" and is_same_base(BaseIdentity(name), BaseIdentity(base_model)))


def _find_base(experts: Mapping[str, Expert], recipe: MergeRecipe, zeros: set[str]) -> str | None:
    """Return the name of the recipe's base among its models, or its own name if it is not one of them."""
    if recipe.base_model is None or recipe.base_model in experts:
        return recipe.base_model
    # The list may have the base model under another name.
    return next(iter(sorted(zeros)), recipe.base_model)


def _check_base(experts: Mapping[str, Expert], recipe: MergeRecipe, base_model: str) -> None:
    said = {model.base for model in recipe.models} | {recipe.base_model}
    for name in sorted(name for name in said if name is not None and name not in experts):
        if not is_same_base(BaseIdentity(name), BaseIdentity(base_model)):
            raise IncompatibleExpert(
                f"the recipe must be for the experts' base model {quote(base_model)}, found {quote(name)}: "
                "correct base_model, or leave it out; if both are the same model, use "
                "expert.with_base(…) or --trust-base"
            )
