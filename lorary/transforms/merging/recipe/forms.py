"""Checks of the types and structure of a recipe file's content."""

from collections.abc import Iterator, Mapping
from typing import Any

from lorary.experts import check_name
from lorary.files import quote
from lorary.transforms.merging.recipe.keys import SLICE_KEYS
from lorary.transforms.merging.recipe.references import read_reference
from lorary.transforms.merging.recipe.slices import check_slices

_MODEL_KEYS = {"model", "parameters", "base"}
_TEXT_KEYS = ("dtype", "base_model", "space", "pico")


def find_form_faults(content: Mapping[Any, Any]) -> Iterator[str]:
    """Yield a fault for each value of a recipe that has a wrong type or structure.

    Args:
        content: the recipe's keys and values; unknown keys are not checked here.
    """
    if not isinstance(content.get("merge_method"), str):
        yield f"merge_method must be the name of a method, found {quote(content.get('merge_method'))}"
    if content.get("modules") is not None:
        yield f"modules must have one entry, found {quote(content['modules'])}: use models of one part"
    if "slices" in content:
        yield from _find_slice_faults(content)
    else:
        yield from _find_models_faults(content.get("models"), content.get("base_model"))
    if not _is_parameters(content.get("parameters")):
        yield f"parameters must map names to values, found {quote(content['parameters'])}"
    for key in _TEXT_KEYS:
        if not isinstance(content.get(key), str | None):
            yield f"{key} must be a name, found {quote(content[key])}"
    if content.get("defaults", "lorary") not in ("lorary", "mergekit"):
        yield f"defaults must be 'mergekit' or 'lorary', found {quote(content['defaults'])}"
    if not _is_parameters(content.get("earlier")):
        yield f"earlier must map names to recipes, found {quote(content['earlier'])}"


def _find_models_faults(models: Any, base: Any) -> Iterator[str]:
    if not isinstance(models, list) or not models:
        yield f"models must be a list of {{model, parameters}}, found {quote(models)}"
        return
    for model in models:
        if not isinstance(model, Mapping) or not set(model) <= _MODEL_KEYS:
            yield f"each entry of models must be {{model: name, parameters: ...}}, found {quote(model)}"
        else:
            yield from _find_model_faults(model, base)


def _find_model_faults(model: Mapping[Any, Any], base: Any) -> Iterator[str]:
    if not isinstance(model.get("model"), str) or not isinstance(model.get("base"), str | None):
        yield f"each entry of models must be {{model: name, parameters: ...}}, found {quote(model)}"
    elif model["model"] != base and (fault := _find_reference_fault(model["model"])) is not None:
        yield fault
    elif not _is_parameters(model.get("parameters")):
        found = model["parameters"]
        yield f"parameters of {quote(model['model'])} must map names to values, found {quote(found)}"


def _find_slice_faults(content: Mapping[Any, Any]) -> Iterator[str]:
    if content.get("models") is not None:
        yield "a recipe must have models or slices, found both"
    faults = check_slices(content["slices"])
    yield from faults
    for part in content["slices"] if not faults else []:
        for key in part:
            known = SLICE_KEYS.get(key)
            if known is None or (known.use == "refused" and part[key] is not None):
                yield f"key {quote(key)} of a slice: " + ("unknown key" if known is None else known.reason)
        if part.get("base_model") not in (None, content.get("base_model")):
            yield f"base_model of a slice must be that of the recipe, found {quote(part['base_model'])}"
        if not _is_parameters(part.get("parameters")):
            yield f"parameters of a slice must map names to values, found {quote(part['parameters'])}"
        for source in part["sources"]:
            yield from _find_model_faults(source, content.get("base_model"))


def _find_reference_fault(text: str) -> str | None:
    try:
        read_reference(text)
    except ValueError as error:
        return f"models: {error}"
    return None


def find_name_fault(name: Any) -> str | None:
    """Return the reason why other recipes cannot use this name for a merge, or None."""
    if not isinstance(name, str):
        return f"name must be text, found {quote(name)}"
    try:
        check_name(name)
    except ValueError as error:
        return f"name: {error}"
    return None


def _is_parameters(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and all(isinstance(key, str) for key in value))
