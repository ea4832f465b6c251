"""Checking that a base model has the weights whose copies an adapter's file had."""

from collections.abc import Iterable

import torch
from torch import nn
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
from lorary.experts.copied_weights import NOTE as COPIED_WEIGHTS
from lorary.experts.copied_weights import choose_dtype, describe_weight
from lorary.files import quote
from lorary.models.expert_linear import ExpertLinear


def check_copies(model: PreTrainedModel, experts: Iterable[Expert]) -> None:
    """Check that the copies of base weights in experts' files equal the model's weights.

    PEFT may save embeddings and output layers with an adapter. An expert does not contain them, so they must
    be the base model's.

    Args:
        model: the base model, with experts or without.
        experts: the experts.

    Raises:
        IncompatibleExpert: if a weight differs; the message names it.
    """
    known: dict[tuple[str, torch.dtype], str] = {}
    for expert in experts:
        for path, described in _list_copies(expert).items():
            weight = _find_weight(model, path)
            dtype = None
            if weight is not None and weight.is_floating_point():
                dtype = choose_dtype(described, weight.dtype)
            if weight is None or dtype is None:
                raise _explain(model, expert, path, weight, described)
            # A weight may have a gigabyte, so it is hashed once for all experts.
            if (path, dtype) not in known:
                known[path, dtype] = describe_weight(weight, dtype)
            if known[path, dtype] != described[str(dtype).removeprefix("torch.")]:
                raise _explain(model, expert, path, weight, described)


def _list_copies(expert: Expert) -> dict[str, dict[str, str]]:
    """List the copies in an expert's card: path -> name of a dtype -> description."""
    copies = expert.card.provenance.get(COPIED_WEIGHTS) or {}
    if not isinstance(copies, dict) or not all(isinstance(value, str | dict) for value in copies.values()):
        raise IncompatibleExpert(
            f"expert {expert.name!r}: {COPIED_WEIGHTS} in its card must be a mapping of paths to "
            f"descriptions of weights, found {quote(copies, 60)}: read the adapter again"
        )
    # Cards of earlier versions have one text for each path, which describes the weight in bfloat16.
    return {path: {"bfloat16": value} if isinstance(value, str) else value for path, value in copies.items()}


def _explain(
    model: PreTrainedModel, expert: Expert, path: str, weight: nn.Parameter | None, described: dict[str, str]
) -> IncompatibleExpert:
    found = "none of that name" if weight is None else f"others ({list(weight.shape)}, {weight.dtype})"
    own = next(iter(described), "")
    # Weights that were rounded twice on the way to the model's dtype may differ without having been trained.
    is_rounded = weight is not None and weight.dtype != torch.float32 and str(weight.dtype) != f"torch.{own}"
    retry = f"; if it is not, load the base model in {quote(own, 20)} or float32 to compare" * is_rounded
    return IncompatibleExpert(
        f"the file of expert {expert.name!r} had weights {quote(path, 200)}, and this {type(model).__name__} "
        f"has {found}. Either they were trained (modules_to_save) or resized with the expert, which cannot "
        f"contain them, or this is not its base model{retry}: merge the adapter with PEFT and use the result "
        "as a base model"
    )


def _find_weight(model: PreTrainedModel, path: str) -> nn.Parameter | None:
    """Return a parameter by its path; in a layer with experts it is one level deeper, below ``base``."""
    module_path, _, name = path.rpartition(".")
    module = dict(model.named_modules()).get(module_path)
    if isinstance(module, ExpertLinear):
        module = module.base
    weight = getattr(module, name, None)
    return weight if isinstance(weight, nn.Parameter) else None
