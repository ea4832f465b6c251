import pytest
import torch

from lorary.routing.configs.moe_form import MoeForm, choose_grid
from lorary.routing.moe.choice import choose_moe
from lorary.routing.moe.product_keys import choose_cells, normalise_grid
from lorary.routing.moe.scores import MoeScores, sum_halves


def draw_halves(num_experts, num_tokens=60):
    generator = torch.Generator().manual_seed(num_experts)
    num_rows, num_columns = choose_grid(num_experts)
    return (
        torch.randn(num_tokens, num_rows, generator=generator),
        torch.randn(num_tokens, num_columns, generator=generator),
    )


def make_form(num_experts, cells=None, **changes):
    cells = tuple(range(num_experts)) if cells is None else cells
    return MoeForm(
        experts=tuple(f"expert {cell}" for cell in cells),
        kind="product_keys",
        query_size=4,
        num_columns=choose_grid(num_experts)[1],
        num_cells=num_experts,
        cells=cells,
        **changes,
    )


@pytest.mark.parametrize("num_experts", [1, 2, 3, 4, 5, 7, 12, 16, 17, 21, 61, 100])
def test_a_grid_has_a_cell_for_each_expert_and_no_empty_row(num_experts):
    num_rows, num_columns = choose_grid(num_experts)
    assert (num_rows - 1) * num_columns < num_experts <= num_rows * num_columns
    assert abs(num_rows - num_columns) <= 1


@pytest.mark.parametrize("num_experts", [1, 2, 3, 5, 7, 12, 16, 17, 61])
def test_the_best_cells_are_those_of_the_full_product(num_experts):
    first, second = draw_halves(num_experts)
    sums = sum_halves(make_form(num_experts, top_k=1), first, second)
    for top_k in sorted({1, 2, 3, num_experts} & set(range(1, num_experts + 1))):
        kept, cells = choose_cells(first, second, num_experts, top_k)
        expected, places = sums.topk(top_k)
        assert torch.equal(kept, expected) and torch.equal(cells, places)
    torch.testing.assert_close(normalise_grid(first, second, num_experts), sums.logsumexp(1))


@pytest.mark.parametrize("weighting", ["kept", "all"])
def test_product_keys_choose_as_a_linear_router_with_the_same_scores(weighting):
    first, second = draw_halves(17)
    form = make_form(17, top_k=4, weighting=weighting)
    flat = MoeForm(experts=form.experts, top_k=4, weighting=weighting)
    found = choose_moe(form, MoeScores(first=first, second=second))
    expected = choose_moe(flat, MoeScores(experts=sum_halves(form, first, second)))
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.weights, expected.weights)


@pytest.mark.parametrize("weighting", ["kept", "all"])
def test_removed_experts_leave_free_cells_that_nobody_chooses(weighting):
    first, second = draw_halves(12)
    cells = (0, 2, 3, 7, 11)
    form = make_form(12, cells, top_k=3, weighting=weighting)
    found = choose_moe(form, MoeScores(first=first, second=second))
    sums = sum_halves(make_form(12, top_k=1), first, second)[:, list(cells)]
    kept, places = sums.topk(3)
    assert torch.equal(found.indices, places)
    expected = kept.softmax(1) if weighting == "kept" else sums.softmax(1).gather(1, places)
    torch.testing.assert_close(found.weights, expected)
