import json
from pathlib import Path

import pytest

from lorary.cli import role_options
from lorary.experts import ExpertCard
from lorary.experts.roles import EXPERT, ROLES, check_roles, describe_roles, infer_role
from lorary.experts.routed import list_routed
from lorary.experts.sidecar import parse_sidecar

# Written by the version before roles: by training, merge(…), merge(…, "subtract"), subtract_general,
# random_expert and store_skills.
EARLIER = {
    "rhymes": "expert",
    "writing": "merge",
    "difference": "merge",
    "rest": "expert",
    "random": "control",
    "s-0": "skill",
}


@pytest.mark.parametrize(("name", "role"), EARLIER.items())
def test_the_role_in_an_earlier_card_is_how_the_expert_was_made(name, role):
    content = json.loads((Path(__file__).parent / f"earlier_cards/{name}.json").read_text())
    assert "role" not in content
    assert parse_sidecar(content, "expert.json").card.role == role
    assert parse_sidecar({**content, "role": "general"}, "expert.json").card.role == "general"


@pytest.mark.parametrize(
    "values", [{}, {"provenance": 3}, {"provenance": {"algorithm": "merge", "recipe": 1}, "parents": 3}]
)
def test_damaged_cards_have_some_role(values):
    assert infer_role(values) in ROLES


@pytest.mark.parametrize("role", ["router", "", None, ["merge"], 3])
def test_an_unknown_role_is_refused(role):
    with pytest.raises(ValueError, match="role must be one of expert, merge, general, control, skill, found"):
        ExpertCard(role=role)


def test_roles_to_use_are_a_name_or_several_and_always_experts():
    assert check_roles(()) == {EXPERT}
    assert check_roles("merge") == {EXPERT, "merge"}
    assert check_roles(["merge", "skill"]) == {EXPERT, "merge", "skill"}
    assert check_roles(["all"]) == set(ROLES)
    with pytest.raises(ValueError, match="there is no role 'merges': did you mean 'merge'"):
        check_roles(["merges"])


def test_names_are_given_up_to_a_few():
    names = {"merge": ["a"], "control": list("bcdefg")}
    assert describe_roles(names) == "1 merge (a), 6 controls (b, c, d, e, …)"


def test_of_a_mapping_that_the_user_made_all_are_used(make_expert):
    experts = {"a": make_expert(role="merge"), "b": make_expert()}
    assert list_routed(experts) == ["a", "b"]


def test_the_command_line_knows_all_roles():
    assert (EXPERT, *role_options.ROLES) == tuple(ROLES)
