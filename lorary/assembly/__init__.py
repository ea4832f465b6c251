"""Base model + experts + router + its artifacts = a model that is ready to be asked."""

from lorary.assembly.deciding import RequestDecider
from lorary.assembly.embeddings import find_embeddings
from lorary.assembly.explanation import Explanation
from lorary.assembly.gates import find_gates
from lorary.assembly.load import load_model
from lorary.assembly.means import find_means, mean_activations
from lorary.assembly.own_inputs import collect_inputs
from lorary.assembly.prototypes import find_prototypes
from lorary.assembly.requests import Requests
from lorary.assembly.routed_model import RoutedModel
from lorary.assembly.save import save_model
from lorary.assembly.saved_model import is_saved_model
from lorary.assembly.task_material import list_data_needs, provide_task_material

__all__ = [
    "Explanation",
    "RequestDecider",
    "Requests",
    "RoutedModel",
    "collect_inputs",
    "find_embeddings",
    "find_gates",
    "find_means",
    "find_prototypes",
    "is_saved_model",
    "list_data_needs",
    "load_model",
    "mean_activations",
    "provide_task_material",
    "save_model",
]
