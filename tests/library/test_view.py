import pytest

from lorary.errors import UnknownExpert
from lorary.experts.routed import list_routed
from lorary.transforms import cluster_experts, expert_similarity, merge, random_expert, subtract_general
from lorary.transforms.prototypes import library_prototypes


@pytest.fixture
def mixed(local, make_expert):
    """Two experts, a merge of them, and a control."""
    for seed, name in enumerate(("odes", "rhymes")):
        local.add(make_expert(name, seed=seed, tasks=(name,)))
    local.add(merge(local, "linear", name="merged"))
    local.add(random_expert(local))
    return local


def test_only_experts_are_used_if_none_are_named(mixed):
    view = mixed.routed()
    assert list(view) == ["odes", "rhymes"] and len(view) == 2
    assert view.left_out == {"merge": ("merged",), "control": ("random",)}
    assert view.describe_left_out() == "1 merge (merged), 1 control (random)"
    assert [entry.name for entry in view.entries()] == ["odes", "rhymes"]
    assert view["odes"].card == mixed["odes"].card
    assert "merged" not in view and "merged" in mixed
    with pytest.raises(UnknownExpert, match=r"'merged': it is left out because its role is 'merge': library"):
        view["merged"]


def test_other_roles_are_used_if_asked_for(mixed):
    assert list(mixed.routed("merge")) == ["merged", "odes", "rhymes"]
    assert mixed.routed(["merge"]).left_out == {"control": ("random",)}
    assert list(mixed.routed("all")) == list(mixed) and mixed.routed("all").left_out == {}
    assert [entry.name for entry in mixed.entries(role="control")] == ["random"]


def test_what_takes_a_library_uses_its_experts_only(mixed):
    """Guards merges of merges, and clusters with controls, once these were stored among the experts."""
    assert list_routed(mixed) == ["odes", "rhymes"]
    assert merge(mixed, "linear").card.parents == ("odes", "rhymes")
    assert expert_similarity(mixed).shape == (2, 2)
    assert cluster_experts(mixed, num_clusters=2).names == ("odes", "rhymes")
    assert random_expert(mixed).card.parents == ("odes", "rhymes")
    assert [len(gains) for _, gains in library_prototypes(mixed).values()] == [2, 2]
    assert [rest.name for rest in subtract_general(mixed, "merged")] == ["odes", "rhymes"]
    assert merge(mixed, "linear", names=["merged", "odes"]).card.parents == ("merged", "odes")


def test_roles_follow_how_an_expert_is_made(mixed):
    assert mixed["merged"].card.role == "merge"
    assert mixed["random"].card.role == "control"
    rest, _ = subtract_general(mixed, "merged")
    assert (rest.card.role, rest.card.tasks) == ("expert", ("odes",))


def test_artifacts_of_a_view_are_the_librarys(mixed):
    key = mixed.routed().artifacts.make_key("sizes", {}, ["odes"])
    assert key == mixed.artifacts.make_key("sizes", {}, ["odes"])
