"""Placing the parts of experts on the modules of a model.

E experts.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from lorary.experts import Expert, Factors
from lorary.experts.parts.soft_prompt import MODEL
from lorary.models.expert_linear import ExpertLinear
from lorary.models.parts.expert_module import ExpertModule
from lorary.models.parts.layer_view import LayerView


class Placed(NamedTuple):
    """The parts of all experts at one module."""

    changes: dict[int, list[nn.Module]]
    """Place of an expert -> its changes, see ``Placement.change``."""
    factors: dict[int, Factors]
    """Place of an expert -> its low-rank factors there, if a part changed them."""


@torch.no_grad()
def place_parts(model: PreTrainedModel, experts: Sequence[Expert]) -> dict[str, Placed]:
    """Prepare the parts of experts that fit a model.

    Args:
        model: the base model, with experts or without.
        experts: the E experts, in the order of the stacks.

    Returns:
        Module path -> the parts there, for all modules where an expert has some.
    """
    placed: dict[str, Placed] = {}
    for index, expert in enumerate(experts):
        for path, parts in expert.parts.items():
            if path == MODEL:
                continue  # read by SoftPrompts
            view = LayerView(find_base(model, path))
            own = factors = expert.factors.get(path)
            here = placed.setdefault(path, Placed({}, {}))
            for part in parts:
                factors, change = part.place(view, factors)
                if change is not None:
                    here.changes.setdefault(index, []).append(change.requires_grad_(False))
            if factors is not None and factors is not own:
                here.factors[index] = factors
    return placed


def find_base(model: PreTrainedModel, path: str) -> nn.Module:
    """Return a module of the base model by its path, without experts.

    Raises:
        AttributeError: if there is none.
    """
    module = model.get_submodule(path)
    return strip(module)


def strip(module: nn.Module) -> nn.Module:
    """Return the base module of one with experts; other modules are returned as they are."""
    base = module.base if isinstance(module, ExpertLinear | ExpertModule) else module
    assert isinstance(base, nn.Module)
    return base


def list_modules(model: PreTrainedModel) -> Mapping[str, nn.Module]:
    """Return module path -> module of the base model, without experts."""
    modules = dict(model.named_modules())
    inner = {f"{path}.base" for path, module in modules.items() if strip(module) is not module}
    return {path: strip(module) for path, module in modules.items() if path not in inner}
