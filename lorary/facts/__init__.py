"""What is known about experts on a base model: a table of facts, and how each is computed, kept or given."""

from lorary.facts.carrier import Carrier
from lorary.facts.embeddings import find_embeddings
from lorary.facts.encoder import Encoder
from lorary.facts.fact import Context, Fact, Source
from lorary.facts.gates import find_gates
from lorary.facts.given import list_givable
from lorary.facts.known import Facts
from lorary.facts.material import gather_layers, gather_request
from lorary.facts.means import find_means, mean_activations
from lorary.facts.own_inputs import collect_inputs
from lorary.facts.prototypes import find_prototypes
from lorary.facts.requests import Requests
from lorary.facts.rows import pack_rows
from lorary.facts.table import FACTS
from lorary.facts.task_facts import find_task_facts, list_task_facts

__all__ = [
    "FACTS",
    "Carrier",
    "Context",
    "Encoder",
    "Fact",
    "Facts",
    "Requests",
    "Source",
    "collect_inputs",
    "find_embeddings",
    "find_gates",
    "find_means",
    "find_prototypes",
    "find_task_facts",
    "gather_layers",
    "gather_request",
    "list_givable",
    "list_task_facts",
    "mean_activations",
    "pack_rows",
]
