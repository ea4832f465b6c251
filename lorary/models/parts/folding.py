"""Folding the parts of one expert into a module."""

from collections.abc import Sequence

from torch import nn

from lorary.errors import IncompatibleExpert
from lorary.experts import Factors
from lorary.experts.parts.contract import Part
from lorary.files import quote
from lorary.models.parts.layer_view import LayerView


def fold_parts(module: nn.Module, factors: Factors | None, parts: Sequence[Part], path: str) -> None:
    """Change a module's parameters as an expert does, computed in float32 and rounded once.

    Args:
        module: the module, changed in place: it gets new parameters. Its weights must not be quantised.
        factors: the expert's low-rank factors there; None for none.
        parts: its parts there, in the order of ``KINDS``.
        path: the module's path, for messages.

    Raises:
        IncompatibleExpert: if the module would need a parameter that it lacks.
    """
    view = LayerView(module)
    known = view.weights()
    exact = {name: weight.float() for name, weight in known.items()}
    weights = dict(exact)
    if parts and parts[0].kind == "whole":
        weights, parts = parts[0].fold(weights, view), parts[1:]
    if factors is not None:
        a, b = (factor.to(weights["weight"].device).float() for factor in factors)
        weights["weight"] = weights["weight"] + b @ a
    for part in parts:
        weights = part.fold(weights, view)
    lacking = [name for name in weights if name not in known]
    if lacking:
        raise IncompatibleExpert(
            f"{quote(path)} has no {lacking[0]}, so a plain model cannot hold the expert's: attach the "
            "expert instead of folding it"
        )
    view.set_weights({name: weight for name, weight in weights.items() if weight is not exact[name]})
