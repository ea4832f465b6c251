"""Merge recipes as YAML, in mergekit's dialect.

``merge_method``, ``models`` with ``parameters``, gradients, filters, ``dtype`` and ``base_model`` mean what
they mean there; an option that is not given has lorary's default. ``rank``, ``space`` and ``layers`` are
lorary's own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from lorary.errors import suggest
from lorary.experts import check_name
from lorary.files import quote, read_yaml, refuse_irregular
from lorary.transforms.merging.checks import MOST_FAULTS, join_faults
from lorary.transforms.merging.recipe.recipe import MergeRecipe, RecipeModel

# What mergekit calls options that have another name here.
_ALIASES = {"lambda": "scale", "select_topk": "density"}
_WHOLE_MODELS = ("slices", "modules", "tokenizer", "tokenizer_source", "chat_template", "out_dtype")
_KEYS = tuple(field.name for field in fields(MergeRecipe))


def read_recipe(path: str | Path) -> MergeRecipe:
    """Read a merge recipe.

    Args:
        path: a YAML file.

    Raises:
        OSError: if it cannot be read.
        FormatError: if it is no regular file, no YAML, or beyond the limits.
        ValueError: if it is no sound recipe; all that is wrong is named, with the file.
    """
    with refuse_irregular(str(path)):
        content = read_yaml(path)
    try:
        return parse_recipe(content)
    except ValueError as error:
        raise ValueError(f"recipe {quote(str(path))}: {error}") from error


def parse_recipe(content: Any) -> MergeRecipe:
    """Understand a recipe's content, as YAML or a merged expert's card holds it.

    Raises:
        ValueError: naming all that is wrong.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"a recipe must map keys such as 'merge_method' to values, found {quote(content)}")
    unknown = [key for key in content if key not in _KEYS]
    faults = [_refuse_key(key) for key in unknown[:MOST_FAULTS]]
    unusable = list(_find_type_faults(content))
    recipe = None
    if not unusable:
        try:
            recipe = _build(content)
        except ValueError as error:
            faults.append(str(error))
    if recipe is None or faults:
        raise ValueError(join_faults([*faults, *unusable]))
    return recipe


def describe_recipe(recipe: MergeRecipe) -> dict[str, Any]:
    """Write a recipe as plain values, which `parse_recipe` understands, without what is at its default."""
    content: dict[str, Any] = {"merge_method": recipe.merge_method}
    content["models"] = [
        {"model": model.model, **({"parameters": dict(model.parameters)} if model.parameters else {})}
        for model in recipe.models
    ]
    if recipe.parameters:
        content["parameters"] = dict(recipe.parameters)
    for field in fields(MergeRecipe):
        if field.name not in content and field.default is not MISSING:
            value = getattr(recipe, field.name)
            if value != field.default:
                content[field.name] = value
    return content


def _refuse_key(key: Any) -> str:
    if key in _WHOLE_MODELS:
        return f"key {key!r} is for merging whole models; an expert is merged module by module: leave it out"
    return f"unknown key {quote(key)}: {suggest(str(key), _KEYS)}"


def _find_type_faults(content: Mapping[Any, Any]) -> Iterator[str]:
    if not isinstance(content.get("merge_method"), str):
        yield f"merge_method must be a method's name, found {quote(content.get('merge_method'))}"
    models = content.get("models")
    if not isinstance(models, list) or not models:
        yield f"models must be a list of {{model, parameters}}, found {quote(models)}"
        models = []
    for model in models:
        is_model = isinstance(model, Mapping) and set(model) <= {"model", "parameters"}
        if not is_model or not isinstance(model.get("model"), str):
            yield f"every entry of models must be {{model: name, parameters: ...}}, found {quote(model)}"
        elif (fault := _find_name_fault(model["model"])) is not None:
            yield fault
        elif not _is_parameters(model.get("parameters")):
            found = model["parameters"]
            yield f"the parameters of {quote(model['model'])} must map names to values, found {quote(found)}"
    if not _is_parameters(content.get("parameters")):
        yield f"parameters must map names to values, found {quote(content['parameters'])}"
    for key in ("dtype", "base_model", "space"):
        if not isinstance(content.get(key), str | None):
            yield f"{key} must be a name, found {quote(content[key])}"


def _find_name_fault(name: str) -> str | None:
    try:
        check_name(name)
    except ValueError as error:
        return f"models: {error}"
    return None


def _is_parameters(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and all(isinstance(key, str) for key in value))


def _build(content: Mapping[Any, Any]) -> MergeRecipe:
    models = tuple(
        RecipeModel(model=model["model"], parameters=_rename(model.get("parameters")))
        for model in content["models"]
    )
    rest = {key: value for key, value in content.items() if key in _KEYS}
    return MergeRecipe(**{**rest, "models": models, "parameters": _rename(content.get("parameters"))})


def _rename(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    return {_ALIASES.get(name, name): value for name, value in (parameters or {}).items()}
