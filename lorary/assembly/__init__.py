"""Base model + experts + router + what is known about the experts = a model that is ready to be asked."""

from lorary.assembly.deciding import RequestDecider
from lorary.assembly.explanation import Explanation
from lorary.assembly.load import load_model
from lorary.assembly.routed_model import RoutedModel
from lorary.assembly.save import save_model
from lorary.assembly.saved_model import is_saved_model
from lorary.assembly.task_material import list_data_needs, provide_task_material

__all__ = [
    "Explanation",
    "RequestDecider",
    "RoutedModel",
    "is_saved_model",
    "list_data_needs",
    "load_model",
    "provide_task_material",
    "save_model",
]
