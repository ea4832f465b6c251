"""The tasks of a model's skills that prompts are nearest to."""

from collections.abc import Sequence

from lorary.assembly.prompts import Prompt, encode_prompts
from lorary.experts.skills import SkillSet
from lorary.facts.requests import list_prompts
from lorary.facts.task_embeddings import compare_tasks
from lorary.models import BaseModel, ExpertStack


def find_nearest_tasks(
    base: BaseModel, stack: ExpertStack, skills: SkillSet | None, prompts: Sequence[Prompt]
) -> list[str]:
    """Find the task nearest to each prompt, see ``RoutedModel.nearest_tasks``."""
    if skills is None or skills.table.embeddings is None:
        raise ValueError(
            "the nearest task is found by embeddings of the tasks, and this model has none: compute them by "
            "lorary.facts.embed_tasks(base, skill_set, examples) before the skills are stored, or give "
            "{'task': None}, the mean of all tasks"
        )
    inputs = encode_prompts(base, prompts, base.model.device)
    ids = list_prompts(inputs["input_ids"], inputs["attention_mask"])
    cosines = compare_tasks(stack, skills.table.embeddings, ids)
    return [skills.table.tasks[place] for place in cosines.argmax(-1).tolist()]
