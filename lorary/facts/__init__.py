"""Facts about experts on a base model, such as prototypes or trained gates: one table, and a file for each.

A fact is computed here and stored with the library's experts, or given by the user.
"""

from lorary.facts.embeddings import find_embeddings
from lorary.facts.gates import find_gates
from lorary.facts.means import find_means
from lorary.facts.own_inputs import collect_inputs
from lorary.facts.prototypes import find_prototypes
from lorary.facts.table import FACTS
from lorary.facts.task_facts import find_task_facts, list_task_facts

__all__ = [
    "FACTS",
    "collect_inputs",
    "find_embeddings",
    "find_gates",
    "find_means",
    "find_prototypes",
    "find_task_facts",
    "list_task_facts",
]
