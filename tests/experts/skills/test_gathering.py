import pytest
import torch

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors
from lorary.experts.parts.ia3 import Ia3Part
from lorary.experts.skills import average_skills, make_skill_set

Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"
SHAPES = {Q: (4, 8, 8), UP: (4, 8, 12)}


def make_expert(name, shapes, base="org/tiny", seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    factors = {
        path: Factors(
            torch.randn(rank, i, generator=generator).to(dtype),
            torch.randn(o, rank, generator=generator).to(dtype),
        )
        for path, (rank, i, o) in shapes.items()
    }
    return Expert(name, base, factors)


def test_experts_of_other_ranks_and_modules_are_padded():
    experts = [
        make_expert("wide", SHAPES),
        make_expert("narrow", {UP: (2, 8, 12)}, seed=1, dtype=torch.bfloat16),
        make_expert("mixed", {Q: (1, 8, 8), UP: (4, 8, 12)}, "tiny", seed=2),
    ]
    skill_set = make_skill_set(experts, num_splits=2)
    assert [skill.name for skill in skill_set.skills] == ["wide", "narrow", "mixed"]
    assert skill_set.skills[0] is experts[0]
    for skill, expert in zip(skill_set.skills, experts, strict=True):
        assert set(skill.ranks.values()) == {4}
        for path, (a, b) in skill.factors.items():
            own = expert.factors.get(path)
            assert torch.equal(b @ a, own.b @ own.a) if own else not b.any()
    assert skill_set.table.tasks == ()
    mean = skill_set.task_expert(None).factors[UP]
    torch.testing.assert_close(mean.a, sum(s.factors[UP].a.float() for s in skill_set.skills) / 3)


@pytest.mark.parametrize("shared", [False, True])
def test_averaged_skills_are_one_skill_with_their_mean(make_skill_set, shared):
    skill_set = make_skill_set(SHAPES, shared=shared)
    averaged = average_skills(skill_set)
    [mean] = averaged.skills
    assert mean.card.parents == tuple(skill.name for skill in skill_set.skills)
    for path in SHAPES:
        for place in (0, 1):
            parts = [skill.factors[path][place] for skill in skill_set.skills]
            expected = sum(parts[:3]) / 3 + (parts[3] if shared else 0)
            torch.testing.assert_close(mean.factors[path][place], expected)
    torch.testing.assert_close(averaged.task_expert(None).factors[Q].a, mean.factors[Q].a)


def test_experts_that_do_not_fit_together_are_refused_at_once():
    experts = [
        make_expert("one", SHAPES),
        make_expert("other", SHAPES, base="org/huge"),
        make_expert("odd", {UP: (4, 8, 16)}),
    ]
    message = (
        "'other' must be for the base model of 'one', 'org/tiny', found 'org/huge'; "
        f"'{UP}' of 'odd' must map 8 to 12, found 8 to 16"
    )
    with pytest.raises(IncompatibleExpert, match=message):
        make_skill_set(experts)


def test_no_expert_and_settings_that_do_not_suit_are_refused():
    with pytest.raises(ValueError, match="at least one expert as a skill, found none"):
        make_skill_set([])
    with pytest.raises(ValueError, match=r"granularity must be one of .*, found 'head'"):
        make_skill_set([make_expert("one", SHAPES)], granularity="head")
    with pytest.raises(ValueError, match=r"8 does not divide those of 'model.layers.0.mlp.up_proj'"):
        make_skill_set([make_expert("one", SHAPES)], num_splits=8)


def test_experts_of_other_kinds_are_refused_before_they_are_padded():
    other = Expert("scales", "org/tiny", {}, parts={UP: (Ia3Part(torch.ones(12), False),)})
    with pytest.raises(IncompatibleExpert, match=r"a set of skills needs .* 'scales' has IA3 scales"):
        make_skill_set([make_expert("wide", SHAPES), other])
