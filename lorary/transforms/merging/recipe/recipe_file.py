"""Merge recipes as YAML, in mergekit's dialect.

``merge_method``, ``models`` with ``parameters``, gradients, filters, ``dtype`` and ``base_model`` mean what
they mean there; an option that is not given has lorary's default. ``rank``, ``space`` and ``layers`` are
lorary's own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml

from lorary.errors import suggest
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
        ValueError: if it is no YAML or no sound recipe; all that is wrong is named, with the file.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"recipe {str(path)!r} is not a YAML file: {error}") from error
    try:
        return parse_recipe(content)
    except ValueError as error:
        raise ValueError(f"recipe {str(path)!r}: {error}") from error


def parse_recipe(content: Any) -> MergeRecipe:
    """Understand a recipe's content, as YAML or a merged expert's card holds it.

    Raises:
        ValueError: naming all that is wrong.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"a recipe must map keys such as 'merge_method' to values, found {content!r}")
    faults = [_refuse_key(key) for key in content if key not in _KEYS]
    unusable = list(_find_type_faults(content))
    recipe = None
    if not unusable:
        try:
            recipe = _build(content)
        except ValueError as error:
            faults.append(str(error))
    if recipe is None or faults:
        raise ValueError("; ".join([*faults, *unusable]))
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
    return f"unknown key {key!r}: {suggest(str(key), _KEYS)}"


def _find_type_faults(content: Mapping[Any, Any]) -> Iterator[str]:
    if not isinstance(content.get("merge_method"), str):
        yield f"merge_method must be a method's name, found {content.get('merge_method')!r}"
    models = content.get("models")
    if not isinstance(models, list) or not models:
        yield f"models must be a list of {{model, parameters}}, found {models!r}"
        models = []
    for model in models:
        is_model = isinstance(model, Mapping) and set(model) <= {"model", "parameters"}
        if not is_model or not isinstance(model.get("model"), str):
            yield f"every entry of models must be {{model: name, parameters: ...}}, found {model!r}"
        elif not _is_parameters(model.get("parameters")):
            found = model["parameters"]
            yield f"the parameters of {model['model']!r} must map names to values, found {found!r}"
    if not _is_parameters(content.get("parameters")):
        yield f"parameters must map names to values, found {content['parameters']!r}"
    for key in ("dtype", "base_model", "space"):
        if not isinstance(content.get(key), str | None):
            yield f"{key} must be a name, found {content[key]!r}"


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
