import pytest
import torch

from lorary.routing.component_plan import ComponentPlan, divide_components
from lorary.routing.contract import LayerRouters, Mixed, join_components
from lorary.routing.hilora import component_likelihoods


def test_likelihoods_are_those_of_gaussians_less_the_largest_possible(draw):
    readings, means, deviations = draw(5, 4, 3), draw(4, 3), draw(4, 3).abs() + 0.1
    normal = torch.distributions.Normal(means, deviations)
    expected = (normal.log_prob(readings) - normal.log_prob(means)).mean(-1)
    torch.testing.assert_close(component_likelihoods(readings, means, deviations), expected)


def test_how_an_expert_is_divided_into_a_and_b_does_not_matter(draw):
    readings, means, deviations = draw(5, 4, 3), draw(4, 3), draw(4, 3).abs() + 0.1
    scaled = component_likelihoods(7 * readings, 7 * means, 7 * deviations)
    torch.testing.assert_close(scaled, component_likelihoods(readings, means, deviations))


def test_components_that_an_expert_does_not_have_are_left_out(draw):
    readings, means, deviations = draw(5, 2, 4), draw(2, 4), draw(2, 4).abs() + 0.1
    means[0, 2:], deviations[0, 2:], means[1], deviations[1] = 0, 0, 0, 0
    found = component_likelihoods(readings, means, deviations)
    expected = component_likelihoods(readings[:, :1, :2], means[:1, :2], deviations[:1, :2])
    torch.testing.assert_close(found[:, :1], expected)
    assert not found[:, 1].any()


def test_a_component_with_one_reading_only_has_finite_likelihoods(draw):
    found = component_likelihoods(draw(5, 1, 2), torch.ones(1, 2), torch.zeros(1, 2))
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("shares", "number", "most", "counts"),
    [
        ([0.6, 0.3, 0.1], 10, 8, [6, 3, 1]),
        ([0.52, 0.28, 0.2], 5, 4, [3, 1, 1]),
        ([1.0, 0.0, 0.0], 5, 4, [4, 1, 0]),
        ([1 / 3, 1 / 3, 1 / 3], 4, 4, [2, 1, 1]),
        ([0.0, 0.0, 0.0], 4, 4, [0, 0, 0]),
        ([0.7, 0.2, 0.1], 12, 4, [4, 4, 4]),
    ],
)
def test_components_are_divided_by_shares_and_all_given(shares, number, most, counts):
    assert divide_components(torch.tensor([shares]), number, most).tolist() == [counts]


@pytest.fixture
def factors(draw):
    """Four experts of rank 3 on one oblong layer."""
    return {"q": draw(4, 3, 16)}, {"q": draw(4, 10, 3)}


def plan(factors, indices, shares, share=0.5):
    a, b = factors
    lengths = {path: rows.norm(dim=1) for path, rows in b.items()}
    return ComponentPlan(torch.tensor(indices), torch.tensor(shares), a, lengths, share)


def test_a_token_gets_the_components_with_the_largest_outputs(draw, factors):
    chooser = plan(factors, [[2, 0]], [[0.7, 0.3]], share=0.67)  # 4 of 6 components: 3 and 1
    x = draw(5, 16)
    choice = chooser.choose("q", x, torch.zeros(5, dtype=torch.long))
    assert choice.components == 3
    a, b = (side["q"] for side in factors)
    for token in range(5):
        outputs = torch.stack([(b[0][:, r] * (a[0][r] @ x[token])).norm() for r in range(3)])
        expected = {6, 7, 8, int(outputs.argmax())}
        assert set(choice.indices[token].tolist()) == expected
        torch.testing.assert_close(choice.weights[token], torch.full((4,), (3 / 4) ** 0.5))


def test_zeros_that_pad_the_stacks_change_nothing(draw, factors):
    """Guards a bug: an expert of a larger rank on the model, which no router chooses, changed the weights."""
    a, b = (side["q"] for side in factors)
    padded = {"q": torch.cat([a, torch.zeros(4, 2, 16)], 1)}, {"q": torch.cat([b, torch.zeros(4, 10, 2)], 2)}
    x, rows = draw(5, 16), torch.zeros(5, dtype=torch.long)
    found = [plan(each, [[2, 0]], [[0.7, 0.3]]).choose("q", x, rows) for each in (factors, padded)]
    spread = [torch.zeros(5, 4 * one.components).scatter_add(1, one.indices, one.weights) for one in found]
    assert [one.components for one in found] == [3, 5]
    torch.testing.assert_close(spread[1].view(5, 4, 5)[..., :3], spread[0].view(5, 4, 3))


def test_a_single_expert_is_whole(draw, factors):
    choice = plan(factors, [[1]], [[1.0]], share=0.0).choose("q", draw(2, 16), torch.tensor([0, 0]))
    assert [sorted(row) for row in choice.indices.tolist()] == [[3, 4, 5]] * 2
    assert torch.equal(choice.weights, torch.ones(2, 3))


def test_experts_and_components_share_a_batch(draw, factors):
    class Two:
        def __call__(self, x):
            return torch.tensor([[3, 1]]).expand(len(x), -1), torch.tensor([[0.75, 0.25]]).expand(len(x), -1)

    mixed = Mixed([([0], plan(factors, [[1]], [[1.0]])), ([1], LayerRouters({"q": Two()}))])
    choice = mixed.choose("q", draw(3, 16), torch.tensor([0, 1, -1]))
    assert choice.components == 3
    assert choice.indices[1].tolist() == [9, 10, 11, 3, 4, 5]
    assert choice.weights[1].tolist() == [0.75] * 3 + [0.25] * 3
    assert choice.weights[0].tolist() == [1.0] * 3 + [0.0] * 3
    assert not choice.weights[2].any()
    joined = join_components(choice)
    spread = torch.zeros(3, 4).scatter_add(1, joined.indices, joined.weights)
    torch.testing.assert_close(spread, torch.tensor([[0, 1.0, 0, 0], [0, 0.25, 0, 0.75], [0, 0, 0, 0]]))
