import pytest

from lorary.training import MoeConfig, TrainConfig

NAMES = ("a", "b", "c", "d", "e", "f")


def make(**changes):
    return MoeConfig(train=TrainConfig(max_steps=1), **changes)


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"kind": "dense", "noise": "loud"}, ["kind must be one of linear", "noise must be one of none"]),
        ({"top_k": 0, "z_loss": -1.0}, ["top_k must be at least 1", "z_loss must be at least 0"]),
        ({"top_k": 1}, ["weighting 'kept' needs top_k above 1"]),
        ({"num_groups": 2, "top_groups": 1}, ["weighting 'kept' needs top_k and top_groups above 1"]),
        ({"num_groups": 2, "groups": {"x": ["a"]}}, ["give only one of them"]),
        ({"num_groups": 2, "kind": "product_keys"}, ["groups need kind linear"]),
        ({"top_groups": 2}, ["top_groups needs num_groups or groups"]),
        ({"kind": "product_keys", "query_size": 5}, ["query_size must be even"]),
        ({"shared_gate": True}, ["shared_gate needs shared experts, found none"]),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(changes, messages):
    with pytest.raises(ValueError, match="configuration of a mixture of experts") as caught:
        make(**changes)
    for message in messages:
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 7}, "top_k must be at most the number of routed experts, 6, found 7"),
        ({"num_groups": 4}, "num_groups must divide the number of routed experts, 6, found 4"),
        ({"num_groups": 3, "top_groups": 4}, "top_groups must be at most the number of groups, 3, found 4"),
        ({"num_groups": 3, "top_k": 3}, "top_k must be at most the size of the smallest group, 2, found 3"),
        ({"groups": {"x": ["a", "b"], "y": ["c", "d"]}}, "groups must have each of the experts"),
        ({"shared": ["a", "z"]}, "shared must name experts of"),
        ({"shared": list(NAMES)}, "there must be an expert to route to besides the shared ones"),
    ],
)
def test_settings_that_do_not_suit_the_experts_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes).make_form(NAMES)


def test_a_form_has_groups_shared_experts_and_a_grid_as_configured():
    form = make(num_groups=2, shared=["c", "f"]).make_form(NAMES)
    assert (form.experts, form.shared) == (("a", "b", "d", "e"), ("c", "f"))
    assert (form.groups, form.top_groups, form.num_kept) == ((0, 0, 1, 1), 2, 4)
    named = make(groups={"x": ["e", "a", "f"], "y": ["b", "d", "c"]}).make_form(NAMES)
    assert named.groups == (0, 1, 1, 1, 0, 0)
    grid = make(kind="product_keys", query_size=6).make_form(NAMES[:5])
    assert (grid.num_rows, grid.num_columns, grid.cells) == (3, 2, (0, 1, 2, 3, 4))
    assert grid.outline(10) == {"query": (6, 10), "first": (3, 3), "second": (2, 3)}
