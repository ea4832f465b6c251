from dataclasses import replace

import pytest
import torch

from lorary.experts.skills import SkillSet, TaskTable

SHAPES = {"model.layers.0.self_attn.q_proj": (4, 8, 8), "model.layers.0.mlp.up_proj": (4, 8, 12)}
GRANULARITIES = ("model", "block", "layer", "linear")


def mix_dense(skill_set, path, task):
    """Mix the factors block by block."""
    weights = skill_set.table.find_weights(path, task)
    mixed = []
    for letter in ("a", "b"):
        factors = [getattr(skill.factors[path], letter) for skill in skill_set.skills]
        factors = factors if letter == "a" else [factor.T for factor in factors]
        blocks = [factor.chunk(len(weights), -1) for factor in factors]
        mixed.append(
            torch.cat(
                [
                    sum(w * own[q] for w, own in zip(row, blocks, strict=True))
                    for q, row in enumerate(weights)
                ],
                -1,
            )
        )
    return mixed[1].T @ mixed[0]


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("splits", [1, 4])
def test_the_expert_of_a_task_has_the_mixed_factors(make_skill_set, granularity, shared, splits):
    skill_set = make_skill_set(SHAPES, num_splits=splits, granularity=granularity, shared=shared)
    for task in ("sql", "poetry", None):
        expert = skill_set.task_expert(task)
        for path, (a, b) in expert.factors.items():
            torch.testing.assert_close(b @ a, mix_dense(skill_set, path, task))


def test_a_task_that_uses_one_skill_has_that_skill(make_skill_set):
    skill_set = make_skill_set(SHAPES)
    table = TaskTable(
        tasks=("only",),
        logits={path: torch.tensor([[50.0, -90.0, -90.0] * 2]) for path in SHAPES},
        num_skills=3,
        num_splits=2,
    )
    expert = SkillSet(skill_set.skills, table).task_expert("only")
    for path, pair in expert.factors.items():
        torch.testing.assert_close(pair, skill_set.skills[0].factors[path])


def test_permuted_skills_and_columns_give_the_same_experts(make_skill_set):
    skill_set = make_skill_set(SHAPES)
    order = [2, 0, 1]
    logits = {
        group: own.unflatten(1, (2, 3))[..., order].flatten(1)
        for group, own in skill_set.table.logits.items()
    }
    permuted = SkillSet([skill_set.skills[i] for i in order], replace(skill_set.table, logits=logits))
    for path, pair in skill_set.task_expert("sql").factors.items():
        torch.testing.assert_close(permuted.task_expert("sql").factors[path], pair)


def test_the_expert_of_a_task_knows_its_task_and_its_skills(make_skill_set):
    skill_set = make_skill_set(SHAPES)
    expert = skill_set.task_experts()["poetry"]
    assert (expert.name, expert.card.tasks) == ("poetry", ("poetry",))
    assert expert.card.parents == ("skill-0", "skill-1", "skill-2")
    assert expert.card.base_fingerprint == "f"
    mean = skill_set.task_expert(None)
    assert (mean.name, mean.card.tasks) == ("mean", ("sql", "poetry"))


def test_skills_of_other_numbers_shapes_and_base_models_are_refused(make_skill_set):
    skill_set = make_skill_set(SHAPES)
    with pytest.raises(ValueError, match="there must be 3 skills for the table, found 2"):
        SkillSet(skill_set.skills[:2], skill_set.table)
    other = make_skill_set({"x": (4, 8, 8)})
    with pytest.raises(ValueError, match="'skill-1' must have the modules and shapes of 'skill-0'"):
        SkillSet([skill_set.skills[0], *other.skills[1:]], skill_set.table)
    foreign = skill_set.skills[2].with_base("elsewhere")
    with pytest.raises(ValueError, match="'skill-2' must be for 'tiny', found 'elsewhere'"):
        SkillSet([*skill_set.skills[:2], foreign], skill_set.table)
    with pytest.raises(ValueError, match=r"different names, found \['skill-0', 'skill-0', 'skill-2'\]"):
        SkillSet([skill_set.skills[0], *skill_set.skills[::2]], skill_set.table)
    with pytest.raises(ValueError, match=r"no rows for 2 groups of layers, such as 'model\.layers\.0\.mlp"):
        SkillSet(skill_set.skills, other.table)


def test_splits_must_divide_every_width(make_skill_set):
    with pytest.raises(ValueError, match=r"'model.layers.0.mlp.up_proj' \(8 to 12\): use 1 or 2 or 4$"):
        make_skill_set(SHAPES, num_splits=8)
