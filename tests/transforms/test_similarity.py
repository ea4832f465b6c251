from dataclasses import replace

import pytest
import torch

from lorary.errors import FormatError, IncompatibleExpert, UnknownExpert
from lorary.experts import Factors
from lorary.transforms import expert_similarity


def dense_cosines(experts):
    """The cosines of all weight changes as vectors, float64."""
    shapes = {path: pair.b @ pair.a for expert in experts.values() for path, pair in expert.factors.items()}
    rows = []
    for expert in experts.values():
        pairs = {path: expert.factors.get(path) for path in shapes}
        dense = [
            torch.zeros_like(shapes[path]).double() if pair is None else pair.b.double() @ pair.a.double()
            for path, pair in pairs.items()
        ]
        rows.append(torch.cat([change.flatten() for change in dense]))
    rows = torch.nn.functional.normalize(torch.stack(rows))
    return rows @ rows.T


def test_it_is_the_cosine_of_the_dense_weight_changes(experts):
    found = expert_similarity(experts)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), dense_cosines(experts), rtol=0, atol=1e-6)


def test_how_an_expert_is_factored_changes_nothing(experts, draw):
    mixer = draw(3, 3).double()
    factors = {
        path: Factors(torch.linalg.inv(mixer) @ pair.a.double(), pair.b.double() @ mixer)
        for path, pair in experts["poetry"].factors.items()
    }
    other = {**experts, "poetry": replace(experts["poetry"], factors=factors)}
    torch.testing.assert_close(expert_similarity(other), expert_similarity(experts), rtol=0, atol=1e-5)


def test_scale_changes_only_the_sign(experts):
    factors = {path: Factors(pair.a, -3 * pair.b) for path, pair in experts["poetry"].factors.items()}
    both = {"poetry": experts["poetry"], "against": replace(experts["poetry"], factors=factors)}
    torch.testing.assert_close(expert_similarity(both), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))


def test_rows_stand_in_the_order_asked_for(experts):
    names = ["few", "poetry", "wide"]
    places = [list(experts).index(name) for name in names]
    expected = expert_similarity(experts)[places][:, places]
    torch.testing.assert_close(expert_similarity(experts, names), expected)


def test_an_expert_that_changes_nothing_is_like_no_other(experts):
    factors = {path: Factors(pair.a, 0 * pair.b) for path, pair in experts["sql"].factors.items()}
    found = expert_similarity({**experts, "sql": replace(experts["sql"], factors=factors)})
    assert found[1].tolist() == [0, 1, 0, 0]


def test_one_expert_and_half_precision(make_expert):
    assert expert_similarity({"one": make_expert("one")}).tolist() == [[1.0]]
    halves = {name: make_expert(name, dtype=torch.bfloat16) for name in ("a", "b")}
    torch.testing.assert_close(expert_similarity(halves).double(), dense_cosines(halves), rtol=0, atol=1e-6)


def test_progress_counts_layers(experts):
    seen = []
    expert_similarity(experts, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_experts_that_cannot_be_compared_are_refused(experts, make_expert):
    with pytest.raises(ValueError, match="at least one expert is needed"):
        expert_similarity({})
    with pytest.raises(UnknownExpert, match="prose"):
        expert_similarity(experts, ["prose"])
    other = make_expert("other", layers={"layers.0.q": (8, 12)})
    with pytest.raises(IncompatibleExpert, match=r"layers\.0\.q"):
        expert_similarity({**experts, "other": other})
    broken = make_expert("broken")
    broken.factors["layers.0.q"].a[0, 0] = float("nan")
    with pytest.raises(FormatError, match="expert 'broken' has NaN"):
        expert_similarity({**experts, "broken": broken})


def test_a_sketch_comes_near_the_exact_cosines(experts):
    found = expert_similarity(experts, sketch=128)
    assert torch.equal(found, found.mT)
    assert torch.equal(found.diagonal(), torch.ones(len(experts)))
    torch.testing.assert_close(found, expert_similarity(experts), rtol=0, atol=0.1)


def test_a_sketch_without_numbers_is_refused(experts):
    with pytest.raises(ValueError, match="sketch must be at least 1, or None for exact products, found 0"):
        expert_similarity(experts, sketch=0)


def test_a_sketch_refuses_what_the_exact_way_refuses(experts, make_expert):
    other = make_expert("other", layers={"layers.0.q": (8, 12)})
    with pytest.raises(IncompatibleExpert, match=r"layers\.0\.q"):
        expert_similarity({**experts, "other": other}, sketch=4)
    broken = make_expert("broken")
    broken.factors["layers.0.q"].b[0, 0] = float("inf")
    with pytest.raises(FormatError, match="expert 'broken' has NaN or infinite"):
        expert_similarity({**experts, "broken": broken}, sketch=4)


def test_progress_of_a_sketch_counts_experts(experts):
    seen = []
    expert_similarity(experts, sketch=4, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_an_expert_that_changes_nothing_is_like_no_other_in_a_sketch(experts):
    factors = {path: Factors(pair.a, 0 * pair.b) for path, pair in experts["sql"].factors.items()}
    found = expert_similarity({**experts, "sql": replace(experts["sql"], factors=factors)}, sketch=8)
    assert found[1].tolist() == [0, 1, 0, 0]
