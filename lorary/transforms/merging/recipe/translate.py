"""Making a ``MergeRecipe`` from the content of a recipe file or card."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Literal

from lorary.files import quote
from lorary.transforms.merging.methods.table import MERGES
from lorary.transforms.merging.recipe.ignored import Ignored
from lorary.transforms.merging.recipe.keys import PARAMETER_KEYS
from lorary.transforms.merging.recipe.mergekit import (
    MERGEKIT,
    PARAMETER_NAMES,
    PARAMETERS,
    find_defaults,
    translate_method,
)
from lorary.transforms.merging.recipe.recipe import MergeRecipe, RecipeModel, RecipeSlice
from lorary.transforms.merging.recipe.references import read_reference

Defaults = Literal["mergekit", "lorary"]
"""Source of the defaults of options."""
_OWN_KEYS = ("dtype", "rank", "space", "pico", "layers", "num_blocks")


class Translator:
    """Makes a recipe from its content, whose form has been checked.

    Args:
        content: the recipe's keys and values.
        defaults: ``"lorary"`` or ``"mergekit"``, for defaults of options and for the syntax of model names.
        ignored: collects the keys that have no effect.
    """

    def __init__(self, content: Mapping[str, Any], defaults: Defaults, ignored: Ignored):
        self._content = content
        self._defaults = defaults
        self._ignored = ignored
        self._called = content["merge_method"]
        self._method, self._fixed = translate_method(self._called)

    def build(self, earlier: Mapping[str, MergeRecipe]) -> MergeRecipe:
        """Build the recipe.

        Args:
            earlier: name -> recipe whose result can be one of the models.

        Raises:
            ValueError: with all faults of the recipe.
        """
        content = self._content
        slices = tuple(self._build_slice(part) for part in content.get("slices") or ())
        given = {model.model: model for part in slices for model in part.models}
        models = tuple(RecipeModel(model=name, base=model.base) for name, model in given.items())
        if not slices:
            models = tuple(map(self._build_model, content["models"]))
        own = {key: content[key] for key in _OWN_KEYS if key in content}
        return MergeRecipe(
            merge_method=self._method,
            models=models,
            slices=slices,
            parameters={**self._find_defaults(), **self._translate(content.get("parameters"), "")},
            base_model=self._find_base(),
            name=content.get("name"),
            earlier={name: earlier[name] for name in [model.model for model in models] if name in earlier},
            ignored=self._ignored.list_all(),
            **own,
        )

    def _find_defaults(self) -> dict[str, Any]:
        defaults = find_defaults(self._called) if self._defaults == "mergekit" else {}
        return {**defaults, **self._fixed}

    def _build_model(self, entry: Mapping[str, Any]) -> RecipeModel:
        name, base = self._read_name(entry["model"])
        parameters = self._translate(entry.get("parameters"), name)
        return RecipeModel(model=name, parameters=parameters, base=entry.get("base", base))

    def _build_slice(self, part: Mapping[str, Any]) -> RecipeSlice:
        begin, end = part["sources"][0]["layer_range"]
        return RecipeSlice(
            begin=begin,
            end=end,
            models=tuple(map(self._build_model, part["sources"])),
            parameters=self._translate(part.get("parameters"), ""),
        )

    def _read_name(self, text: str) -> tuple[str, str | None]:
        is_base = text == self._content.get("base_model") and "+" not in text
        return (text, None) if is_base or self._defaults == "lorary" else read_reference(text)

    def _find_base(self) -> str | None:
        said = self._content.get("base_model")
        if said is None or self._defaults == "lorary" or "+" not in said:
            return said
        return read_reference(said).name

    def _translate(self, parameters: Mapping[str, Any] | None, expert: str) -> dict[str, Any]:
        """Rename parameters, and leave out those that have no effect."""
        found = {}
        for called, value in (parameters or {}).items():
            name = PARAMETER_NAMES.get(called, called)
            reason = self._find_reason(called, name, expert)
            if reason is None:
                found[name] = value
            else:
                self._ignored.note(f"{called} of {quote(expert)}" if expert else called, reason)
        return found

    def _find_reason(self, called: str, name: str, expert: str) -> str | None:
        """Return why a parameter has no effect, as in mergekit; None if it is used or unknown."""
        known = PARAMETER_KEYS.get(called)
        if known is not None and known.use == "ignored":
            return known.reason
        if self._called not in MERGEKIT or name not in PARAMETERS:
            return None
        kind = MERGES[self._method]
        shared = {field.name for field in fields(kind.config)} - set(self._fixed)
        weighted = {"weight"} if kind.default_weight != "none" else set()
        if name not in shared | weighted:
            return f"{self._called} does not use it"
        if expert and name not in {*kind.own_options, *weighted}:
            return f"{self._called} uses one value for all experts, from the recipe's parameters"
        return None


def find_passthrough_faults(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield faults of a recipe of mergekit's ``passthrough`` that experts do not support."""
    if content["merge_method"] != "passthrough":
        return
    parts = content.get("slices") or [{"sources": content.get("models") or []}]
    if any(len(part["sources"]) > 1 for part in parts):
        yield "passthrough must have one model for each block, found several: use a method that merges them"
    named = [*parts, *(source for part in parts for source in part["sources"]), content]
    if any("scale" in (entry.get("parameters") or {}) for entry in named):
        yield "passthrough must have no scale, which applies to weights, not to weight changes: leave it out"
