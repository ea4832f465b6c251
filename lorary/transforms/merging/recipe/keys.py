"""All keys of recipe files: whether they are used, ignored or refused, and why. The reader uses it."""

from dataclasses import dataclass
from typing import Literal

Use = Literal["used", "ignored", "refused"]


@dataclass(frozen=True, kw_only=True)
class RecipeKey:
    """One key of recipe files."""

    name: str
    """Name of the key."""
    use: Use
    """Whether it is used, ignored or refused."""
    reason: str
    """Its meaning if it is used; why it has no effect; or why it is refused and what to do."""


def _make(use: Use, **reasons: str) -> dict[str, RecipeKey]:
    return {name: RecipeKey(name=name, use=use, reason=reason) for name, reason in reasons.items()}


_NO_TOKENIZER = "a merged expert has no tokenizer"
_NO_MIXTURE = "recipes of mergekit-moe are not supported: build a routed model with lorary.load_model"

# Keys of a recipe.
RECIPE_KEYS: dict[str, RecipeKey] = {
    **_make(
        "used",
        merge_method="the method, by lorary's name or mergekit's",
        models="the experts, each with its own parameters; the base model can be one of them",
        slices="the experts for ranges of blocks; slices must cover all blocks in order",
        modules="one entry with models or slices",
        parameters="options of the method, and defaults for parameters of the experts",
        base_model="the base model; or an expert, to which weight changes are then relative",
        dtype="dtype of the merged factors",
        rank="only lorary: rank of the merged expert",
        space="only lorary: space in which the method is applied",
        pico="only lorary: scale down shared output directions; 'merge' or 'experts' keeps its norm",
        layers="only lorary: modules to merge if the experts change different ones",
        num_blocks="only lorary: number of blocks of the base model, for lists of values",
        earlier="only lorary: recipes by name, whose results are experts of this recipe",
        defaults="only lorary: defaults of options, 'mergekit' (in files) or 'lorary' (in cards)",
    ),
    **_make(
        "ignored",
        name="the name of the output is used; in a file of several documents, others refer to this name",
        tokenizer=_NO_TOKENIZER,
        tokenizer_source=_NO_TOKENIZER,
        chat_template="a merged expert has no chat template",
        out_dtype="the merged factors have the recipe's dtype, or that of the experts",
    ),
    **_make(
        "refused",
        gate_mode=_NO_MIXTURE,
        experts=_NO_MIXTURE,
        experts_per_token=_NO_MIXTURE,
        shared_experts=_NO_MIXTURE,
        source_model="recipes that extract a LoRA are not supported: train or read an adapter",
    ),
}
# Keys of an entry of slices; its sources have model, layer_range and parameters.
SLICE_KEYS: dict[str, RecipeKey] = {
    **_make(
        "used",
        sources="the experts, each with its range of blocks",
        parameters="options for these blocks",
        base_model="must equal base_model of the recipe",
    ),
    **_make(
        "refused",
        residual_weight="adding weights of another model is not supported: leave it out",
        residual_model="adding weights of another model is not supported: leave it out",
    ),
}
# Keys of parameters that are not options of a method.
PARAMETER_KEYS: dict[str, RecipeKey] = {
    **_make("used", weight="weight of each expert that has none of its own"),
    **_make("ignored", int8_mask="it only reduces the size of mergekit's masks"),
}
