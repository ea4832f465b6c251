"""Pico, before every method, beside dense matrices and the paper's formula."""

import pytest
import torch

from lorary.experts import Factors
from lorary.transforms.merging import MERGES, LowRank, merge, plan_merge
from lorary.transforms.merging.pico import calibrate, merge_calibrated
from lorary.transforms.merging.recipe.arguments import make_recipe


def dense_pico(d, scaled):
    """Calibrate dense ``d [E, O, I]``; the directions are those of ``scaled``."""
    u, s, _ = torch.linalg.svd(torch.cat(list(scaled), 1), full_matrices=False)
    shared = s.square() / s.square().sum()
    return d + u @ ((1 / (1 + (len(scaled) - 1) * shared) - 1)[:, None] * (u.mT @ d))


def add_up(pairs):
    return LowRank(torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs], 1))


def test_directions_of_many_experts_are_scaled_down(layer, deltas):
    d = deltas(layer)
    expected = dense_pico(d, d / d.norm(dim=(1, 2), keepdim=True))
    found = torch.stack([b @ a for a, b in calibrate(layer.pairs, [True] * 3)])
    torch.testing.assert_close(found, expected)


def test_it_is_the_papers_formula_on_b_where_rows_of_a_are_orthonormal(make_layer):
    layer = make_layer((20, 12), ranks=(3, 3, 3))
    pairs = [Factors(torch.linalg.qr(a.mT)[0].mT, b / b.norm()) for a, b in layer.pairs]
    u, s, _ = torch.linalg.svd(torch.cat([b for _, b in pairs], 1), full_matrices=False)
    alpha = 1 / (1 + 2 * s.square() / s.square().sum())
    for (_, b), (_, found) in zip(pairs, calibrate(pairs, [True] * 3), strict=True):
        torch.testing.assert_close(found, b + u @ ((alpha - 1)[:, None] * (u.mT @ b)))


@pytest.mark.parametrize("is_dense", [False, True])
def test_the_merged_layer_has_the_mean_of_the_experts_norms(layer, deltas, is_dense, dense):
    def add(pairs):
        a, b, _ = add_up(pairs)
        return 0.3 * b @ a if is_dense else LowRank(a, 0.3 * b)

    d = deltas(layer)
    change = dense(merge_calibrated(layer.pairs, layer.weights, "merge", add))
    expected = dense_pico(d, d / d.norm(dim=(1, 2), keepdim=True)).sum(0)
    torch.testing.assert_close(change, expected / expected.norm() * d.norm(dim=(1, 2)).mean())


def test_each_expert_keeps_its_norm(layer, deltas):
    seen = []

    def note(pairs):
        seen.extend(pairs)
        return add_up(pairs)

    merge_calibrated(layer.pairs, layer.weights, "experts", note)
    found = torch.stack([b @ a for a, b in seen])
    torch.testing.assert_close(found.norm(dim=(1, 2)), deltas(layer).norm(dim=(1, 2)))


@pytest.mark.parametrize("rescale", ["merge", "experts"])
def test_experts_of_zeros_and_of_weight_zero_are_not_counted(make_layer, dense, rescale):
    layer = make_layer(weights=(1.0, 0.0, 1.0))

    def weigh(pairs):
        return add_up([pairs[0], *pairs[2:]])

    extra = (*layer.pairs, Factors(layer.pairs[0].a * 0, layer.pairs[0].b))
    expected = dense(merge_calibrated(layer.pairs[::2], (1.0, 1.0), rescale, add_up))
    found = dense(merge_calibrated(extra, (1.0, 0.0, 1.0, 1.0), rescale, weigh))
    torch.testing.assert_close(found, expected)


def test_one_expert_and_experts_of_zeros_stay_as_they_are(make_layer, dense):
    layer = make_layer(ranks=(3,), weights=(1.0,))
    alone = dense(merge_calibrated(layer.pairs, (1.0,), "merge", add_up))
    torch.testing.assert_close(alone, layer.pairs[0].b @ layer.pairs[0].a)
    zeros = [Factors(a * 0, b) for a, b in make_layer().pairs]
    assert not dense(merge_calibrated(zeros, (1.0,) * 3, "merge", add_up)).any()


def test_how_weight_changes_are_factored_does_not_matter(layer):
    def refactor(pair):
        change = torch.eye(len(pair.a), dtype=torch.float64) * 3 + 1
        return Factors(torch.linalg.solve(change, pair.a), pair.b @ change)

    expected = [b @ a for a, b in calibrate(layer.pairs, [True] * 3)]
    found = [b @ a for a, b in calibrate(tuple(map(refactor, layer.pairs)), [True] * 3)]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rescale", ["merge", "experts"])
@pytest.mark.parametrize("method", [name for name, kind in MERGES.items() if not kind.needs_inputs])
def test_it_comes_before_every_method(make_expert, method, rescale):
    experts = [make_expert("poetry", 3, torch.bfloat16), make_expert("sql", 2, torch.bfloat16)]
    plain = merge(experts, method, rank="full")
    merged = merge(experts, method, rank="full", pico=rescale)
    path = "model.layers.0.mlp.up"
    (a, b), (plain_a, plain_b) = merged.factors[path], plain.factors[path]
    assert merged.dtypes == (torch.bfloat16,) and not torch.allclose(b @ a, plain_b @ plain_a, rtol=1e-2)
    assert merged.card.description == f"2 experts merged by {method} after pico"
    assert merged.card.provenance["recipe"]["pico"] == rescale
    assert plan_merge(
        {each.name: each for each in experts}, make_recipe(["poetry", "sql"], method, pico=rescale)
    )


def test_other_values_are_refused(experts):
    with pytest.raises(ValueError, match="pico must be 'merge' or 'experts', found 'both'"):
        merge(experts, "ties", pico="both")
