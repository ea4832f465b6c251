"""Finding the layers that a LoRA configuration's ``target_modules`` means."""

from collections.abc import Callable, Mapping, Sequence

from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.files import PatternMatcher, quote
from lorary.models.called import find_unfit_layers
from lorary.models.layers import BaseLayer, is_base_layer


def find_layers(model: PreTrainedModel, target_modules: str | Sequence[str]) -> dict[str, BaseLayer]:
    """Find the layers that a LoRA configuration's ``target_modules`` means, as PEFT does.

    PEFT uses every linear layer that matches. Layers that cannot have experts are left out here, see
    ``find_unfit_layers``.

    Args:
        model: the base model.
        target_modules: ``"all-linear"`` (all except the output layer), a regular expression that must match
            a whole module path, or a list of path endings such as ``"q_proj"``.

    Returns:
        Module path -> layer, in the model's order.

    Raises:
        IncompatibleExpert: if nothing matches, or no layer that a target matches can have experts.
        ValueError: if it is not a regular expression, or one that takes too long to match.
    """
    layers = {path: module for path, module in model.named_modules() if is_base_layer(module)}
    unfit = find_unfit_layers(model)
    found: dict[str, BaseLayer] = {}
    for target, matches in _read_targets(model, layers, target_modules).items():
        matching = {path: layer for path, layer in layers.items() if matches(path)}
        fit = {path: layer for path, layer in matching.items() if path not in unfit}
        if matching and not fit:
            path = next(iter(matching))
            raise IncompatibleExpert(
                f"target_modules {quote(target)} match only layers of {type(model).__name__} that cannot "
                f"have experts, such as {path} ({unfit[path]}): leave it out"
            )
        found.update(fit)
    if not found:
        endings = sorted({path.rpartition(".")[2] for path in layers})
        raise IncompatibleExpert(
            f"target_modules must match a layer of {type(model).__name__}, found {quote(target_modules)}: "
            f"its layers end in {endings}"
        )
    return {path: layer for path, layer in layers.items() if path in found}


def _read_targets(
    model: PreTrainedModel, layers: Mapping[str, BaseLayer], target_modules: str | Sequence[str]
) -> dict[str, Callable[[str], bool]]:
    """Return for each target a function that tests a module path."""
    if target_modules == "all-linear":
        output = model.get_output_embeddings()
        return {"all-linear": lambda path: layers[path] is not output}
    if isinstance(target_modules, str):
        matcher = PatternMatcher()
        pattern = matcher.compile(target_modules)
        return {target_modules: lambda path: matcher.fully_matches(pattern, path)}
    return {target: _ends_in(target) for target in target_modules}


def _ends_in(target: str) -> Callable[[str], bool]:
    return lambda path: path == target or path.endswith("." + target)
