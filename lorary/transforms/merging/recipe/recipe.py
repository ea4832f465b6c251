"""``MergeRecipe``: the complete description of a merge: method, experts, weights, options, rank."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lorary.files import quote, say_count
from lorary.transforms.merging.checks import join_faults
from lorary.transforms.merging.kind import MergeKind
from lorary.transforms.merging.methods.table import MERGES, find_rules, merge_named
from lorary.transforms.merging.options import build_config
from lorary.transforms.merging.pico import RESCALES, Rescale
from lorary.transforms.merging.rank import read_rank
from lorary.transforms.merging.recipe.settings import Setting, evaluate_settings, find_setting_faults
from lorary.transforms.merging.survey import LayerChoice

MOST_NAMED = 5  # experts in one message
MOST_BLOCKS = 100_000
DTYPES = ("float16", "bfloat16", "float32", "float64")
LAYER_CHOICES = ("same", "common", "all")


@dataclass(frozen=True, kw_only=True)
class RecipeModel:
    """One expert of a recipe."""

    model: str
    """Name of the expert."""
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    """Its ``weight``, and options of the method that can have a value for each expert."""
    base: str | None = None
    """The expert's base model in the recipe, which is checked; None if the recipe has none."""


@dataclass(frozen=True, kw_only=True)
class RecipeSlice:
    """Experts and options for a range of blocks."""

    begin: int
    """The first block."""
    end: int
    """The number after the last block."""
    models: tuple[RecipeModel, ...]
    """The experts that are merged in these blocks; others have weight 0."""
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    """Options of the method in these blocks; lists of values are interpolated over these blocks."""


@dataclass(frozen=True, kw_only=True)
class MergeRecipe:
    """The complete description of a merge, which can be saved and repeated; most keys are those of mergekit.

    Raises:
        ValueError: with all faults that can be found without the experts.
    """

    merge_method: str
    """A key of ``MERGES``."""
    models: tuple[RecipeModel, ...]
    """The experts, in order."""
    parameters: Mapping[str, Setting] = field(default_factory=dict)
    """Options of the method, and a ``weight`` for experts that have none of their own."""
    dtype: str | None = None
    """Dtype of the merged expert; None keeps that of the experts."""
    base_model: str | None = None
    """The experts' base model, which is checked; or the expert to which weight changes are relative."""
    rank: int | str | None = None
    """Rank of the merged expert, see ``read_rank``."""
    space: str | None = None
    """Space in which the method is applied; None for the first of the method's spaces."""
    pico: Rescale | None = None
    """Whether output directions that many experts use are scaled down first, and what keeps its norm then:
    ``merge`` (the mean of the experts' norms) or ``experts`` (each its own); None: not scaled."""
    layers: LayerChoice = "same"
    """``same``, ``common`` or ``all``: layers to merge if the experts change different ones."""
    slices: tuple[RecipeSlice, ...] = ()
    """Experts and options for ranges of blocks, which together cover all blocks in order."""
    num_blocks: int | None = None
    """Number of blocks of the base model, over which lists of values are interpolated; None detects it."""
    name: str | None = None
    """Name of its result in other recipes of the same file."""
    earlier: Mapping[str, "MergeRecipe"] = field(default_factory=dict)
    """Name -> recipe whose result is one of the models."""
    ignored: tuple[str, ...] = field(default=(), compare=False)
    """Sentences about keys of a recipe file that have no effect."""

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
        yield f"experts must have different names, found more than once: {found}"
    if recipe.dtype is not None and recipe.dtype not in DTYPES:
        yield f"dtype must be one of {', '.join(DTYPES)}, found {quote(recipe.dtype)}"
    if recipe.layers not in LAYER_CHOICES:
        yield f"layers must be 'same', 'common' or 'all', found {quote(recipe.layers)}"
    if recipe.pico is not None and recipe.pico not in RESCALES:
        yield f"pico must be {' or '.join(map(repr, RESCALES))}, found {quote(recipe.pico)}"
    try:
        read_rank(recipe.rank)
    except ValueError as error:
        yield str(error)
    is_count = recipe.num_blocks is None or (
        type(recipe.num_blocks) is int and 0 < recipe.num_blocks <= MOST_BLOCKS
    )
    if not is_count:
        yield f"num_blocks must be a whole number from 1 to {MOST_BLOCKS:,}, found {quote(recipe.num_blocks)}"
    settings = [*recipe.parameters.items(), *_list_model_settings(recipe)]
    settings += [setting for part in recipe.slices for setting in part.parameters.items()]
    form = [fault for name, setting in settings for fault in find_setting_faults(name, setting)]
    yield from form
    if recipe.merge_method in MERGES and not form:
        yield from _find_method_faults(recipe)


def _list_model_settings(recipe: MergeRecipe) -> list[tuple[str, Setting]]:
    return [
        (f"{name} of {quote(model.model)}", setting)
        for model in (*recipe.models, *(model for part in recipe.slices for model in part.models))
        for name, setting in model.parameters.items()
    ]


def _find_method_faults(recipe: MergeRecipe) -> Iterator[str]:
    """Yield faults of the method's options at the first layer; those of each layer are checked later."""
    kind = MERGES[recipe.merge_method]
    if recipe.space is not None and recipe.space not in kind.spaces:
        spaces = " or ".join(map(quote, kind.spaces))
        yield f"space of {quote(recipe.merge_method)} must be {spaces}, found {quote(recipe.space)}"
    options = evaluate_settings(recipe.parameters, "", 0.0)
    options.pop("weight", None)
    try:
        config = build_config(recipe.merge_method, kind.config, options)
    except ValueError as error:
        yield str(error)
        return
    rules = find_rules(recipe.merge_method, config)
    if recipe.models and (
        fault := find_count_fault(recipe.merge_method, rules, _count_experts(recipe, rules))
    ):
        yield fault
    for part in recipe.slices or (recipe,):
        yield from _find_model_faults(recipe, rules, part.models, {**recipe.parameters, **part.parameters})


def find_count_fault(method: str, rules: MergeKind, count: int) -> str | None:
    """Return a fault if a method cannot merge this number of experts, or None."""
    if rules.min_experts <= count <= (rules.max_experts or count):
        return None
    most = "exactly" if rules.min_experts == rules.max_experts else "at least"
    return f"{quote(method)} needs {most} {say_count(rules.min_experts, 'expert')}, found {count}"


def _count_experts(recipe: MergeRecipe, rules: MergeKind) -> int:
    """Count the models to merge; only the name ``base_model`` is known to be the base model here."""
    is_listed = recipe.base_model in recipe.names
    if rules.base == "origin":
        return len(recipe.models) - is_listed
    is_given = recipe.base_model is not None and rules.base in ("first", "joins")
    return len(recipe.models) + (is_given and not is_listed)


def _find_model_faults(
    recipe: MergeRecipe, rules: MergeKind, models: Iterable[RecipeModel], parameters: Mapping[str, Setting]
) -> Iterator[str]:
    takes_weights = rules.default_weight != "none"
    allowed = [*(["weight"] if takes_weights else []), *rules.own_options]
    models = [model for model in models if model.model != recipe.base_model or rules.base == "listed"]
    for model in models:
        for name in model.parameters:
            if name not in allowed:
                yield (
                    f"an expert merged by {quote(recipe.merge_method)} can have "
                    f"{' and '.join(allowed) or 'no'} parameters, found {quote(name)} of {quote(model.model)}"
                )
    if "weight" in parameters:
        if not takes_weights:
            yield f"{quote(recipe.merge_method)} has no weights, found parameter 'weight': leave it out"
        return
    lacking = [model.model for model in models if "weight" not in model.parameters]
    if lacking and len(lacking) < len(models):
        found = ", ".join(map(quote, lacking[:MOST_NAMED]))
        yield f"all experts must have a weight, or none, found none of {found}"
