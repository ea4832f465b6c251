"""Embeddings of the tasks of skills, by which the nearest task of a prompt is found.

P prompts, T tasks, D width of the last hidden states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lorary.experts.skills import SkillSet
from lorary.facts.embeddings import embed_prompts
from lorary.facts.examples import NUM_TEXTS
from lorary.files import quote
from lorary.models import BaseModel, ExpertStack
from lorary.models.attach import attach_slots
from lorary.training import TrainingExamples


def embed_tasks(
    base: BaseModel,
    skill_set: SkillSet,
    examples: Mapping[str, TrainingExamples],
    *,
    num_texts: int = NUM_TEXTS,
) -> SkillSet:
    """Return skills whose table has an embedding of each task.

    It is the mean of the base model's last hidden states, over the tokens of each prompt and over prompts.

    Args:
        base: the base model, without experts.
        skill_set: the skills.
        examples: task -> its training examples, for all tasks of the table.
        num_texts: number of prompts of each task.

    Raises:
        ValueError: if there are no tasks, or a task has no examples.
    """
    tasks = skill_set.table.tasks
    missing = [task for task in tasks if task not in examples or not examples[task].train]
    if missing or not tasks:
        raise ValueError(
            f"every task of the table must have training examples, found none for {quote(missing)}"
        )
    prompts = {task: [own.prompt_ids for own in examples[task].train[:num_texts]] for task in tasks}
    path = next(iter(skill_set.skills[0].outlines))
    # Reading needs a stack, of which no expert is used.
    stack = attach_slots(base.model, {path: base.model.get_submodule(path)}, 1, 1)
    try:
        rows = embed_prompts(stack, prompts)
    finally:
        stack.detach()
    embeddings = torch.stack([rows[task].mean(0) for task in tasks])
    return replace(skill_set, table=replace(skill_set.table, embeddings=embeddings))


def compare_tasks(stack: ExpertStack, embeddings: Tensor, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Compute cosines of prompts and tasks, of embeddings minus the mean of all tasks.

    Args:
        stack: the experts on the model; they are switched off.
        embeddings: of the tasks, ``[T, D]``.
        prompts: token ids of each prompt.

    Returns:
        ``[P, T]``, float32.
    """
    # The tasks' embeddings are the base model's own.
    found = embed_prompts(stack, {"": prompts}, without_general=True)[""]
    centre = embeddings.mean(0)
    rows, tasks = (torch.nn.functional.normalize(own - centre, dim=-1) for own in (found, embeddings))
    return rows @ tasks.T
