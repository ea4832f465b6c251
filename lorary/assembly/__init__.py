"""Base model + experts + router + its artifacts = a model that is ready to be asked."""

from lorary.assembly.explanation import Explanation
from lorary.assembly.load import load_model
from lorary.assembly.prototypes import find_prototypes
from lorary.assembly.routed_model import RoutedModel

__all__ = ["Explanation", "RoutedModel", "find_prototypes", "load_model"]
