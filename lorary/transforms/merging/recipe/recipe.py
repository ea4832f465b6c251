"""A merge, said in full: which method, which experts with which weights, which options, how large."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lorary.files import quote
from lorary.transforms.merging.checks import join_faults
from lorary.transforms.merging.kind import MergeKind
from lorary.transforms.merging.methods.table import MERGES, find_rules, merge_named
from lorary.transforms.merging.options import build_config
from lorary.transforms.merging.rank import read_rank
from lorary.transforms.merging.recipe.settings import Setting, evaluate_settings, find_setting_faults
from lorary.transforms.merging.survey import LayerChoice

MOST_NAMED = 5  # experts in one message
DTYPES = ("float16", "bfloat16", "float32", "float64")
LAYER_CHOICES = ("same", "common", "all")


@dataclass(frozen=True, kw_only=True)
class RecipeModel:
    """One expert of a recipe."""

    model: str
    """Its name."""
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    """Its ``weight`` and, for methods that have one, its ``density``."""


@dataclass(frozen=True, kw_only=True)
class MergeRecipe:
    """A merge that can be written down and repeated; the keys are mergekit's, besides the last three.

    Raises:
        ValueError: naming all that is wrong, as far as it can be seen without the experts.
    """

    merge_method: str
    """A key of ``MERGES``."""
    models: tuple[RecipeModel, ...]
    """The experts, in order."""
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    """The method's options, and a ``weight`` for experts that have none of their own."""
    dtype: str | None = None
    """Of the merged expert; None keeps what the experts have."""
    base_model: str | None = None
    """The experts' base model, if it is to be checked."""
    rank: int | str | None = None
    """How large the merged expert is, see ``read_rank``."""
    space: str | None = None
    """What the method is applied to; None means the first of the method's."""
    layers: LayerChoice = "same"
    """``same``, ``common`` or ``all``: which layers to merge where the experts' differ."""

    def __post_init__(self) -> None:
        faults = list(_find_faults(self))
        if faults:
            raise ValueError(join_faults(faults))

    @property
    def names(self) -> tuple[str, ...]:
        """The experts' names."""
        return tuple(model.model for model in self.models)


def _find_faults(recipe: MergeRecipe) -> Iterator[str]:
    if recipe.merge_method not in MERGES:
        try:
            merge_named(recipe.merge_method)
        except ValueError as error:
            yield str(error)
    if not recipe.models:
        yield "at least one expert is needed to merge, found none"
    twice = sorted(name for name, count in Counter(recipe.names).items() if count > 1)
    if twice:
        found = ", ".join(map(quote, twice[:MOST_NAMED]))
        yield f"every expert must be named once, found more than once: {found}"
    if recipe.dtype is not None and recipe.dtype not in DTYPES:
        yield f"dtype must be one of {', '.join(DTYPES)}, found {quote(recipe.dtype)}"
    if recipe.layers not in LAYER_CHOICES:
        yield f"layers must be 'same', 'common' or 'all', found {quote(recipe.layers)}"
    try:
        read_rank(recipe.rank)
    except ValueError as error:
        yield str(error)
    settings = [*recipe.parameters.items(), *_list_model_settings(recipe)]
    form = [fault for name, setting in settings for fault in find_setting_faults(name, setting)]
    yield from form
    if recipe.merge_method in MERGES and not form:
        yield from _find_method_faults(recipe)


def _list_model_settings(recipe: MergeRecipe) -> list[tuple[str, Setting]]:
    return [
        (f"{name} of {quote(model.model)}", setting)
        for model in recipe.models
        for name, setting in model.parameters.items()
    ]


def _find_method_faults(recipe: MergeRecipe) -> Iterator[str]:
    """Say what does not fit the method, its options at the first layer; every layer's are checked later."""
    kind = MERGES[recipe.merge_method]
    if recipe.space is not None and recipe.space not in kind.spaces:
        spaces = " or ".join(map(quote, kind.spaces))
        yield f"{quote(recipe.merge_method)} works in space {spaces}, found {quote(recipe.space)}"
    options = evaluate_settings(recipe.parameters, "", 0.0)
    options.pop("weight", None)
    try:
        config = build_config(recipe.merge_method, kind.config, options)
    except ValueError as error:
        yield str(error)
        return
    rules, count = find_rules(recipe.merge_method, config), len(recipe.models)
    if count and not rules.min_experts <= count <= (rules.max_experts or count):
        most = "exactly" if rules.min_experts == rules.max_experts else "at least"
        yield f"{quote(recipe.merge_method)} needs {most} {rules.min_experts} experts, found {count}"
    yield from _find_model_faults(recipe, rules)


def _find_model_faults(recipe: MergeRecipe, rules: MergeKind) -> Iterator[str]:
    takes_weights = rules.default_weight != "none"
    allowed = [*(["weight"] if takes_weights else []), *(["density"] if rules.has_densities else [])]
    for model in recipe.models:
        for name in model.parameters:
            if name not in allowed:
                yield (
                    f"an expert merged by {quote(recipe.merge_method)} has {' and '.join(allowed) or 'no'} "
                    f"parameters, found {quote(name)} of {quote(model.model)}"
                )
    if "weight" in recipe.parameters:
        if not takes_weights:
            yield f"{quote(recipe.merge_method)} takes no weights, found 'weight' in its parameters"
        return
    lacking = [model.model for model in recipe.models if "weight" not in model.parameters]
    if lacking and len(lacking) < len(recipe.models):
        found = ", ".join(map(quote, lacking[:MOST_NAMED]))
        yield f"either all experts have a weight or none has, found none of {found}"
