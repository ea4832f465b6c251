"""Facts about experts on a base model, such as prototypes or trained gates: one table, and a file for each.

A fact is computed here and stored with the library's experts, or given by the user.
"""

from lorary.facts.own_inputs import collect_inputs
from lorary.facts.table import FACTS
from lorary.facts.task_embeddings import embed_tasks
from lorary.facts.task_facts import find_task_facts, list_task_facts

__all__ = [
    "FACTS",
    "collect_inputs",
    "embed_tasks",
    "find_task_facts",
    "list_task_facts",
]
