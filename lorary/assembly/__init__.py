"""Assemble a ready model from a base model, experts, a router and facts about the experts."""

from lorary.assembly.explanation import Explanation
from lorary.assembly.load import load_model
from lorary.assembly.routed_model import RoutedModel
from lorary.assembly.save import save_model

__all__ = [
    "Explanation",
    "RoutedModel",
    "load_model",
    "save_model",
]
