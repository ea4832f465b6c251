import pytest
import torch

from lorary.models.plan import Plan


def plan_of(indices, num_experts, weights=None):
    indices = torch.tensor(indices)
    return Plan(indices, torch.ones(indices.shape) if weights is None else torch.tensor(weights), num_experts)


def spread(plan, rows):
    return plan.choose("any", torch.zeros(len(rows), 1), torch.tensor(rows))


def chosen_experts(plan, rows, num_experts):
    """The experts each token uses, numbered as in the whole stack."""
    choice = spread(plan, rows)
    if choice.subset is not None:
        used = torch.arange(num_experts)[choice.subset.experts]
        present = choice.weights != 0
        assert torch.equal(used[choice.subset.indices][present], choice.indices[present])
    return choice.indices.tolist()


def test_a_requests_experts_are_those_of_all_its_tokens():
    plan = plan_of([[4, 1], [0, 4]], 6, [[0.25, 0.75], [1.0, 0.0]])
    assert chosen_experts(plan, [0, 1, 1, 0], 6) == [[4, 1], [0, 0], [0, 0], [4, 1]]
    assert spread(plan, [0, 1]).weights.tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert spread(plan, [0]).combine == "outputs"


def test_padding_has_no_expert():
    plan = plan_of([[2], [1]], 3)
    assert spread(plan, [-1, 0, -1, 1]).weights.tolist() == [[0.0], [1.0], [0.0], [1.0]]


def test_all_layers_of_a_call_have_one_answer():
    plan = plan_of([[2], [5]], 6)
    rows = torch.tensor([0, 1])
    first, second = (plan.choose(path, torch.zeros(2, 1), rows) for path in "ab")
    assert first is second
    assert plan.choose("a", torch.zeros(1, 1), torch.tensor([1])).indices.tolist() == [[5]]


@pytest.mark.parametrize(
    ("indices", "kind"),
    [([[1], [0], [2]], type(None)), ([[2], [1], [2]], slice), ([[0], [2], [0]], torch.Tensor)],
)
def test_only_the_stacks_that_are_used_are_taken(indices, kind):
    plan = plan_of(indices, 3)
    assert isinstance(plan.used, kind)
    assert len(torch.arange(3)[plan.used].flatten()) == len({i for (i,) in indices})
    assert chosen_experts(plan, [0, 1, 2, 1], 3) == [indices[row] for row in (0, 1, 2, 1)]


def test_experts_without_weight_are_not_taken():
    plan = plan_of([[0, 1, 2, 3], [3, 2, 1, 0]], 6, [[0.0, 0.5, 0.0, 0.25], [0.0, 0.0, 2.0, 0.0]])
    choice = spread(plan, [0, 1])
    assert choice.indices.shape == (2, 2)
    assert torch.arange(6)[plan.used].tolist() == [1, 3]
    assert chosen_experts(plan, [0, 1], 6) == [[1, 3], [1, 1]]
    assert choice.weights.tolist() == [[0.5, 0.25], [2.0, 0.0]]


def test_a_plan_without_weight_is_for_the_base_alone():
    assert spread(plan_of([[1], [0]], 3, [[0.0], [0.0]]), [0, 1]) is None
    assert spread(plan_of([[1], [0]], 3, [[0.0], [-0.5]]), [0, 1]) is not None


@pytest.mark.parametrize(("indices", "weights"), [([[1]], [[1.0, 0.0]]), ([1], [1.0]), ([[[1]]], [[[1.0]]])])
def test_indices_and_weights_of_different_or_wrong_shape_are_refused(indices, weights):
    with pytest.raises(ValueError, match=r"indices and weights of the same shape \[P, K\], found"):
        plan_of(indices, 3, weights)


@pytest.mark.parametrize("index", [-1, 3])
def test_an_expert_out_of_range_is_refused(index):
    with pytest.raises(ValueError, match=r"a plan's indices must be in \[0, 3\), the number of"):
        plan_of([[0], [index]], 3)
