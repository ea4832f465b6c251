import pytest
import torch

from lorary.models import Plan


def plan_of(indices, num_experts, weights=None):
    indices = torch.tensor(indices)
    return Plan(indices, torch.ones(indices.shape) if weights is None else torch.tensor(weights), num_experts)


def chosen_experts(plan, shape, num_experts):
    """The experts each token uses, numbered as in the whole stack."""
    indices, _ = plan.per_token(torch.Size(shape))
    local, _ = plan.per_token(torch.Size(shape), narrow=True)
    everyone = torch.arange(num_experts)
    assert torch.equal((everyone if plan.used is None else everyone[plan.used])[local], indices)
    return indices.tolist()


def test_a_sequences_experts_are_those_of_all_its_tokens():
    plan = plan_of([[4, 1], [0, 4]], 6, [[0.25, 0.75], [1.0, 0.0]])
    _, weights = plan.per_token(torch.Size([2, 3]))
    assert chosen_experts(plan, [2, 3], 6) == [[4, 1]] * 3 + [[0, 0]] * 3
    assert weights.tolist() == [[0.25, 0.75]] * 3 + [[1.0, 0.0]] * 3


def test_tokens_can_have_experts_of_their_own():
    plan = plan_of([[[4], [1]], [[0], [4]]], 6)
    assert chosen_experts(plan, [2, 2], 6) == [[4], [1], [0], [4]]


def test_a_plan_serves_any_number_of_tokens_per_sequence():
    plan = plan_of([[2], [5]], 6)
    assert chosen_experts(plan, [2, 1], 6) == [[2], [5]]
    assert chosen_experts(plan, [2, 4], 6) == [[2]] * 4 + [[5]] * 4


@pytest.mark.parametrize(
    ("indices", "kind"),
    [([[1], [0], [2]], type(None)), ([[2], [1], [2]], slice), ([[0], [2], [0]], torch.Tensor)],
)
def test_only_the_stacks_that_are_used_are_taken(indices, kind):
    plan = plan_of(indices, 3)
    assert isinstance(plan.used, kind)
    assert len(torch.arange(3)[plan.used].flatten()) == len({i for (i,) in indices})
    assert chosen_experts(plan, [3, 2], 3) == [row for row in indices for _ in range(2)]


def test_experts_without_weight_are_not_taken():
    plan = plan_of([[0, 1, 2, 3], [3, 2, 1, 0]], 6, [[0.0, 0.5, 0.0, 0.25], [0.0, 0.0, 2.0, 0.0]])
    indices, weights = plan.per_token(torch.Size([2, 1]))
    assert indices.shape == (2, 2)
    assert torch.arange(6)[plan.used].tolist() == [1, 3]
    assert chosen_experts(plan, [2, 1], 6) == [[1, 3], [1, 1]]
    assert weights.tolist() == [[0.5, 0.25], [2.0, 0.0]]


def test_a_plan_without_weight_is_for_the_base_alone():
    assert plan_of([[1], [0]], 3, [[0.0], [0.0]]).is_base_only
    assert not plan_of([[1], [0]], 3, [[0.0], [-0.5]]).is_base_only


@pytest.mark.parametrize("shape", [(2, 3), (4, 3)])
def test_a_batch_of_another_size_is_refused(shape):
    plan = plan_of([[1], [0], [1]], 3)
    with pytest.raises(
        ValueError, match=rf"made for \(3,\) \(sequences, tokens\), this batch has \({shape[0]}, 3\)"
    ):
        plan.per_token(torch.Size(shape))


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"made for \(1, 2\) \(sequences, tokens\), this batch has \(1, 3\)"):
        plan_of([[[1], [0]]], 3).per_token(torch.Size([1, 3]))


@pytest.mark.parametrize(("indices", "weights"), [([[1]], [[1.0, 0.0]]), ([1], [1.0])])
def test_indices_and_weights_of_different_or_wrong_shape_are_refused(indices, weights):
    with pytest.raises(ValueError, match=r"indices and weights of one shape, \[B, K\] or \[B, L, K\]; found"):
        plan_of(indices, 3, weights)


@pytest.mark.parametrize("index", [-1, 3])
def test_an_expert_out_of_range_is_refused(index):
    with pytest.raises(ValueError, match=r"a plan's indices must lie in \[0, 3\)"):
        plan_of([[0], [index]], 3)
