"""Whether a base model has the weights that an adapter came with copies of."""

from torch import nn
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
from lorary.experts.copied_weights import NOTE as COPIED_WEIGHTS
from lorary.experts.copied_weights import describe_weight
from lorary.files import quote
from lorary.models.expert_linear import ExpertLinear


def check_copies(model: PreTrainedModel, expert: Expert) -> None:
    """Refuse an expert whose file had other embeddings, or another output layer, than the model has.

    Args:
        model: the base model, with experts or without.
        expert: the expert.

    Raises:
        IncompatibleExpert: naming the weight.
    """
    for path, described in (expert.card.provenance.get(COPIED_WEIGHTS) or {}).items():
        weight = _find_weight(model, path)
        if weight is None or not weight.is_floating_point() or describe_weight(weight) != described:
            found = (
                "none of that name" if weight is None else f"others ({list(weight.shape)}, {weight.dtype})"
            )
            raise IncompatibleExpert(
                f"expert {expert.name!r} came with weights {quote(path)}, and this {type(model).__name__} "
                f"has {found}: they were trained or resized with the expert, or the base model is another; "
                "merge the adapter with PEFT and use the result as a base model"
            )


def _find_weight(model: PreTrainedModel, path: str) -> nn.Parameter | None:
    """Give a parameter by its path; a layer that carries experts has it one level deeper."""
    module_path, _, name = path.rpartition(".")
    module = dict(model.named_modules()).get(module_path)
    if isinstance(module, ExpertLinear):
        module = module.base
    weight = getattr(module, name, None)
    return weight if isinstance(weight, nn.Parameter) else None
