"""Rows that a mixture-of-experts router starts from: prototypes times gains, or mean inputs.

E experts, I layer input.
"""

from collections.abc import Mapping

from torch import Tensor

from lorary.experts import Expert
from lorary.experts.on_top import join_general
from lorary.facts.means import mean_activations
from lorary.facts.prototypes import find_prototypes
from lorary.files import quote
from lorary.models import BaseModel, attach_experts
from lorary.training import TrainingExamples
from lorary.training.objectives.moe_config import WarmStart

NUM_TEXTS = 32


def find_start_rows(
    base: BaseModel,
    experts: Mapping[str, Expert],
    examples: Mapping[str, TrainingExamples],
    warm_start: WarmStart,
    general: Expert | None = None,
) -> dict[str, Tensor] | None:
    """Return the rows that a router starts from.

    Args:
        base: the base model, without experts.
        experts: the experts, with the module paths of the base model; a library stores their prototypes.
        examples: task -> its examples.
        warm_start: ``"prototypes"``, ``"means"``, or ``"none"`` for no rows.
        general: the general expert that the experts build on, which is active too; None for none.

    Returns:
        Module path -> ``[E, I]``, in the order of the experts, for ``train_moe``.

    Raises:
        ValueError: for means, if an expert was trained on none of the tasks.
    """
    if warm_start == "none":
        return None
    if warm_start == "prototypes":
        found = find_prototypes(experts)
        return {path: rows * gains[:, None] for path, (rows, gains) in found.items()}
    texts = {name: _list_texts(expert, examples) for name, expert in experts.items()}
    missing = [name for name, own in texts.items() if not own]
    if missing:
        raise ValueError(
            "warm_start 'means' needs examples of each expert's own tasks, found none for "
            f"{quote(missing[:3])}: add these tasks, or take warm_start 'prototypes'"
        )
    stack = attach_experts(base.model, join_general(experts, general))
    try:
        return mean_activations(stack, texts)
    finally:
        stack.detach()


def _list_texts(expert: Expert, examples: Mapping[str, TrainingExamples]) -> list[list[int]]:
    own = [task for task in dict.fromkeys((*expert.card.tasks, expert.name)) if task in examples]
    found = [example for task in own for example in examples[task].train[:NUM_TEXTS]]
    return [[*example.prompt_ids, *example.target_ids] for example in found]
