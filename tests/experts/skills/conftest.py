"""PEFT's Poly layers and models, which the skills are compared with."""

import copy

import pytest
import torch

from lorary.experts import Expert, ExpertCard, Factors
from lorary.experts.skills import SkillSet, TaskTable
from lorary.experts.skills.task_table import name_group


@pytest.fixture
def make_poly(peft):
    """Wrap a copy of a base model in a PEFT Poly adapter with random factors and logits."""

    def make(base, **settings):
        torch.manual_seed(1)
        config = peft.PolyConfig(
            **{"r": 4, "n_tasks": 3, "n_skills": 2, "task_type": "CAUSAL_LM", **settings}
        )
        model = peft.get_peft_model(copy.deepcopy(base), config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if ".poly_" in name:
                    parameter.copy_(torch.randn_like(parameter) * (1 if "logits" in name else 0.2))
        return model

    return make


@pytest.fixture
def make_skill_set():
    """Random skills of some layers, with a random table."""

    def make(shapes, tasks=("sql", "poetry"), num_skills=3, num_splits=2, granularity="linear", shared=False):
        generator = torch.Generator().manual_seed(0)

        def draw(*shape):
            return torch.randn(*shape, generator=generator) / 2

        skills = [
            Expert(
                f"skill-{number}",
                "tiny",
                {path: Factors(draw(rank, i), draw(o, rank)) for path, (rank, i, o) in shapes.items()},
                ExpertCard(base_fingerprint="f"),
            )
            for number in range(num_skills + shared)
        ]
        groups = {name_group(path, granularity): None for path in shapes}
        table = TaskTable(
            tasks=tasks,
            logits={group: draw(len(tasks), num_splits * num_skills) for group in groups},
            num_skills=num_skills,
            num_splits=num_splits,
            granularity=granularity,
            has_shared=shared,
        )
        return SkillSet(skills, table)

    return make
