"""Store trained skills in the library."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lorary.errors import LibraryError
from lorary.evaluation.run_header import describe_run
from lorary.experts.skills import SkillSet
from lorary.facts import embed_tasks
from lorary.library import Library
from lorary.library.skills import list_incomplete_skills, load_skills, store_skills
from lorary.models import BaseModel
from lorary.training import SkillConfig, TrainingExamples
from lorary.training.same_training import find_skill_fault


def check_skill_names(
    library: Library,
    name: str,
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    config: SkillConfig,
) -> None:
    """Refuse to replace experts of other origin: of another training run, or added by hand.

    Raises:
        LibraryError: with the first three.
    """
    ends = [*map(str, range(config.num_skills)), *(["shared"] if config.shared_skill else [])]
    names = {f"{name}-{end}" for end in ends}
    digests = {task: found.digest for task, found in examples.items()}
    others = [
        repr(entry.name)
        for entry in library.entries()
        if entry.name in names
        and find_skill_fault(
            entry.card, base_fingerprint=base.fingerprint, data_digests=digests, config=config
        )
    ]
    if others:
        more = ", …" if len(others) > 3 else ""
        raise LibraryError(
            f"library {library.url!r} already has {', '.join(others[:3])}{more} from other data or settings: "
            "add --replace to replace them, name the skills by --expert, or train into another library"
        )


def store_trained(
    library: Library,
    name: str,
    base: BaseModel,
    skill_set: SkillSet,
    examples: Mapping[str, TrainingExamples],
    prompts: Mapping[str, Any],
) -> None:
    """Store trained skills and their table with embeddings of its tasks, unless the library has them already.

    Args:
        library: the library.
        name: name of the skills.
        base: the base model.
        skill_set: the skills.
        examples: task -> its examples.
        prompts: how examples became prompts, for the cards.
    """
    embeddings = _find_embeddings(library, skill_set)
    if embeddings is None:
        skill_set = embed_tasks(base, skill_set, examples)
    else:
        skill_set = replace(skill_set, table=replace(skill_set.table, embeddings=embeddings))
    run = describe_run(seeds={}, settings={})
    notes = {"prompts": dict(prompts), "versions": run["versions"], "date": run["date"]}
    skills = [
        replace(skill, card=replace(skill.card, provenance={**skill.card.provenance, **notes}))
        for skill in skill_set.skills
    ]
    store_skills(library, SkillSet(skills, skill_set.table), replace=True)
    # Remaining skills of a larger set of the same name that was replaced are of no use any more.
    ends = re.compile(rf"{re.escape(name)}-(?:\d+|shared)")
    for skill in list_incomplete_skills(library):
        if ends.fullmatch(skill):
            del library[skill]


def _find_embeddings(library: Library, skill_set: SkillSet) -> Tensor | None:
    """Return the embeddings of the tasks if the library has these skills already, as after a second run."""
    try:
        stored = load_skills(library, skill_set.skills[0].name).table
    except LibraryError:
        return None
    own = skill_set.table
    is_same = stored.tasks == own.tasks and stored.logits.keys() == own.logits.keys()
    if is_same and all(torch.equal(stored.logits[group], own.logits[group]) for group in own.logits):
        return stored.embeddings
    return None
