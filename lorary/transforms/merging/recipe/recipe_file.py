"""Merge recipes as YAML files in mergekit's format, of one or more documents; each document is a merge.

Methods of mergekit have mergekit's defaults. ``recipe.keys`` lists all keys.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from lorary.errors import suggest
from lorary.files import quote, say_count
from lorary.files.yaml_text import read_yaml_documents
from lorary.transforms.merging.checks import MOST_FAULTS, join_faults
from lorary.transforms.merging.recipe.forms import find_form_faults, find_name_fault
from lorary.transforms.merging.recipe.ignored import Ignored
from lorary.transforms.merging.recipe.keys import RECIPE_KEYS
from lorary.transforms.merging.recipe.recipe import MergeRecipe, RecipeModel
from lorary.transforms.merging.recipe.translate import Defaults, Translator, find_passthrough_faults


def read_recipe(path: str | Path) -> MergeRecipe:
    """Read a merge recipe. In a file of several documents, the last one must use the results of all others.

    Args:
        path: a YAML file.

    Raises:
        OSError: if the file cannot be read.
        FormatError: if it is not a regular file, not YAML, or too large.
        ValueError: if the recipe is not valid, with all faults; or if the last document does not use all
            others.
    """
    recipes = read_recipes(path)
    needed = set(_list_needed(recipes[-1]))
    idle = [recipe.name or f"the {number}." for number, recipe in enumerate(recipes[:-1], 1)]
    idle = [name for name in idle if name not in needed]
    if idle:
        raise ValueError(
            f"the last merge of recipe {quote(str(path))} must use all others, found "
            f"{say_count(len(recipes), 'merge')} without a use of {', '.join(idle)}: read them with "
            "read_recipes"
        )
    return recipes[-1]


def read_recipes(path: str | Path) -> tuple[MergeRecipe, ...]:
    """Read all merges of a recipe file, in order. The models of a merge can be results of earlier ones.

    Args:
        path: a YAML file of one or more documents.

    Raises:
        OSError, FormatError: as in ``read_recipe``.
        ValueError: if a recipe is not valid, or two have the same name.
    """
    documents = read_yaml_documents(path)
    named: dict[str, MergeRecipe] = {}
    recipes = []
    for number, content in enumerate(documents, 1):
        where = f"{quote(str(path))}" + (f", document {number}" if len(documents) > 1 else "")
        try:
            recipe = parse_recipe(content, defaults="mergekit", earlier=named, is_single=len(documents) == 1)
            if recipe.name is not None:
                if recipe.name in named:
                    raise ValueError(f"merges must have different names, found {quote(recipe.name)} twice")
                named[recipe.name] = recipe
        except ValueError as error:
            raise ValueError(f"recipe {where}: {error}") from error
        recipes.append(recipe)
    return tuple(recipes)


def parse_recipe(
    content: Any,
    *,
    defaults: Defaults = "lorary",
    earlier: Mapping[str, MergeRecipe] | None = None,
    is_single: bool = True,
) -> MergeRecipe:
    """Parse a recipe from plain values, such as those of a YAML file or of a merged expert's card.

    Args:
        content: the values.
        defaults: ``"lorary"`` or ``"mergekit"``: the defaults of options; the key ``defaults`` overrides it.
        earlier: name -> recipe whose result can be one of the models.
        is_single: whether no other recipe uses its result, so that its name has no effect.

    Raises:
        ValueError: with all faults of the recipe.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"a recipe must map keys such as 'merge_method' to values, found {quote(content)}")
    content, ignored = _open_modules(content), Ignored()
    faults = list(_sort_keys(content, ignored, is_single))[:MOST_FAULTS]
    unusable = list(find_form_faults(content))
    if not is_single and content.get("name") is not None and (fault := find_name_fault(content["name"])):
        unusable.append(fault)
    recipe = None
    if not unusable:
        try:
            recipe = _build(content, content.get("defaults", defaults), ignored, earlier or {}, is_single)
        except ValueError as error:
            faults.append(str(error))
    if recipe is None or faults:
        raise ValueError(join_faults([*faults, *unusable]))
    return recipe


def describe_recipe(recipe: MergeRecipe) -> dict[str, Any]:
    """Return a recipe as plain values for `parse_recipe`, without keys that have their defaults."""
    content: dict[str, Any] = {"merge_method": recipe.merge_method}
    if recipe.slices:
        content["slices"] = [
            {
                "sources": [
                    {**_describe_model(model), "layer_range": [part.begin, part.end]} for model in part.models
                ],
                **({"parameters": dict(part.parameters)} if part.parameters else {}),
            }
            for part in recipe.slices
        ]
    else:
        content["models"] = [_describe_model(model) for model in recipe.models]
    if recipe.parameters:
        content["parameters"] = dict(recipe.parameters)
    if recipe.earlier:
        content["earlier"] = {name: describe_recipe(other) for name, other in recipe.earlier.items()}
    written = {*content, "models", "slices", "parameters", "earlier", "ignored", "name"}
    for field in fields(MergeRecipe):
        if field.name not in written and field.default is not MISSING:
            value = getattr(recipe, field.name)
            if value != field.default:
                content[field.name] = value
    return content


def _describe_model(model: RecipeModel) -> dict[str, Any]:
    parameters = {"parameters": dict(model.parameters)} if model.parameters else {}
    return {"model": model.model, **parameters, **({"base": model.base} if model.base else {})}


def _list_needed(recipe: MergeRecipe) -> Iterator[str]:
    for name, other in recipe.earlier.items():
        yield name
        yield from _list_needed(other)


def _open_modules(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Merge the only entry of ``modules`` into the recipe."""
    modules = content.get("modules")
    if not isinstance(modules, Mapping) or len(modules) != 1:
        return content
    (only,) = modules.values()
    if not isinstance(only, Mapping):
        return content
    both = [values for values in (content.get("parameters"), only.get("parameters")) if values is not None]
    parameters = {
        name: value for values in both if isinstance(values, Mapping) for name, value in values.items()
    }
    rest = {key: value for key, value in content.items() if key != "modules"}
    return {**rest, **only, **({"parameters": parameters} if both else {})}


def _sort_keys(content: Mapping[Any, Any], ignored: Ignored, is_single: bool) -> Iterator[str]:
    for key in content:
        known = RECIPE_KEYS.get(key) if isinstance(key, str) else None
        if known is None:
            yield f"unknown key {quote(key)}: {suggest(str(key), RECIPE_KEYS)}"
        elif known.use == "refused":
            yield f"key {key!r}: {known.reason}"
        elif known.use == "ignored" and (key != "name" or is_single):
            ignored.note(key, known.reason)


def _build(
    content: Mapping[str, Any],
    defaults: Defaults,
    ignored: Ignored,
    earlier: Mapping[str, MergeRecipe],
    is_single: bool,
) -> MergeRecipe:
    faults = list(find_passthrough_faults(content))
    if faults:
        raise ValueError(join_faults(faults))
    written = content.get("earlier") or {}
    known = {**earlier, **{name: parse_recipe(other, defaults=defaults) for name, other in written.items()}}
    if is_single:
        content = {key: value for key, value in content.items() if key != "name"}
    return Translator(content, defaults, ignored).build(known)
