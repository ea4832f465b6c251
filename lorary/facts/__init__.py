"""What is known about experts on a base model: prototypes, calibrations, means, gates, embeddings."""

from lorary.facts.carrier import Carrier
from lorary.facts.embeddings import find_embeddings
from lorary.facts.encoder import Encoder
from lorary.facts.gates import find_gates
from lorary.facts.means import find_means, mean_activations
from lorary.facts.own_inputs import collect_inputs
from lorary.facts.prototypes import find_prototypes
from lorary.facts.requests import Requests

__all__ = [
    "Carrier",
    "Encoder",
    "Requests",
    "collect_inputs",
    "find_embeddings",
    "find_gates",
    "find_means",
    "find_prototypes",
    "mean_activations",
]
