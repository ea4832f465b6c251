"""Every key of a recipe file: used, ignored or refused, and why. The reader goes by this table."""

from dataclasses import dataclass
from typing import Literal

Use = Literal["used", "ignored", "refused"]


@dataclass(frozen=True, kw_only=True)
class RecipeKey:
    """One key."""

    name: str
    """Its name."""
    use: Use
    """What happens to it."""
    reason: str
    """What it means here; why it changes nothing; or why it is refused and what to do."""


def _make(use: Use, **reasons: str) -> dict[str, RecipeKey]:
    return {name: RecipeKey(name=name, use=use, reason=reason) for name, reason in reasons.items()}


_NO_TOKENIZER = "a merged expert changes no tokenizer"
_NO_MIXTURE = "this is a recipe of mergekit-moe; experts are routed instead, see lorary.load_model"

# Of a whole recipe.
RECIPE_KEYS: dict[str, RecipeKey] = {
    **_make(
        "used",
        merge_method="the method, by lorary's name or mergekit's",
        models="the experts, each with parameters of its own; the base model may be among them",
        slices="the same, block by block; they must cover all blocks in their order",
        modules="as models or slices; one entry only",
        parameters="the method's options, and what holds for experts that have none of their own",
        base_model="the model, or the expert, that changes are counted from",
        dtype="of the merged factors",
        rank="lorary's own: how large the merged expert is",
        space="lorary's own: what the method is applied to",
        layers="lorary's own: which modules to merge where the experts' differ",
        num_blocks="lorary's own: how many blocks the base model has, over which lists of values run",
        earlier="lorary's own: recipes, by name, whose results are among the models",
        defaults="lorary's own: whose defaults hold, 'mergekit' (files) or 'lorary' (cards)",
    ),
    **_make(
        "ignored",
        name="its place says the merged expert's name; of several documents, others call it by this",
        tokenizer=_NO_TOKENIZER,
        tokenizer_source=_NO_TOKENIZER,
        chat_template="a merged expert changes no chat template",
        out_dtype="the merged factors have the recipe's dtype, or the experts'",
    ),
    **_make(
        "refused",
        gate_mode=_NO_MIXTURE,
        experts=_NO_MIXTURE,
        experts_per_token=_NO_MIXTURE,
        shared_experts=_NO_MIXTURE,
        source_model="this is a recipe for extracting a LoRA: train or read an adapter instead",
    ),
}
# Of an entry of slices, besides those of its sources: model, layer_range, parameters.
SLICE_KEYS: dict[str, RecipeKey] = {
    **_make(
        "used",
        sources="the experts, each with the range of blocks it is taken from",
        parameters="what holds for these blocks",
        base_model="as that of the recipe, which it must equal",
    ),
    **_make(
        "refused",
        residual_weight="weight changes have no residual of another model's",
        residual_model="weight changes have no residual of another model's",
    ),
}
# Of parameters, besides the methods' own options.
PARAMETER_KEYS: dict[str, RecipeKey] = {
    **_make("used", weight="how much an expert counts, unless its own says another"),
    **_make("ignored", int8_mask="it only makes mergekit's masks smaller"),
}
