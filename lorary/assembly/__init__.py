"""Base model + experts + router + what is known about the experts = a model that is ready to be asked."""

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
