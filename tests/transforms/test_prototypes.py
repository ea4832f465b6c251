import pytest
import torch

from lorary.errors import FormatError, IncompatibleExpert, UnknownExpert
from lorary.experts import Expert, Factors
from lorary.transforms.prototypes import arrow_prototypes, library_prototypes


def dense_leading(a, b):
    _, s, vh = torch.linalg.svd(b.double() @ a.double(), full_matrices=False)
    return vh[..., 0, :], s[..., 0]


def assert_same_direction(v, expected):
    assert (v.double() * expected.double()).sum(-1).abs().min() >= 0.99999


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(4, 16, 3, 16), (4, 24, 3, 10), (1, 9, 3, 12), (4, 6, 8, 7)], ids=str)
def test_prototypes_equal_the_dense_svd(draw, shape, dtype):
    experts, outputs, rank, inputs = shape
    a, b = draw(experts, rank, inputs, dtype=dtype), draw(experts, outputs, rank, dtype=dtype)
    prototypes, gains = arrow_prototypes(a, b)
    expected_v, expected_s = dense_leading(a, b)
    assert prototypes.dtype == gains.dtype == torch.float32
    assert_same_direction(prototypes, expected_v)
    torch.testing.assert_close(gains.double(), expected_s, rtol=1e-5, atol=0)
    torch.testing.assert_close(prototypes.norm(dim=-1), torch.ones(experts))


def test_library_prototypes_equal_the_dense_svd_of_every_layer(experts):
    found = library_prototypes(experts)
    assert set(found) == set(experts["poetry"].factors)
    for path, (prototypes, gains) in found.items():
        for index, expert in enumerate(experts.values()):
            if path not in expert.factors:
                continue
            expected_v, expected_s = dense_leading(*expert.factors[path])
            assert_same_direction(prototypes[index], expected_v)
            torch.testing.assert_close(gains[index].double(), expected_s, rtol=1e-5, atol=0)


def test_an_expert_without_a_layer_has_zeros_there(experts):
    prototypes, gains = library_prototypes(experts)["layers.1.q"]
    assert not prototypes[3].any() and gains[3] == 0
    assert prototypes[:3].any(-1).all()


def test_an_untrained_expert_has_gain_zero_and_a_prototype_of_zeros(draw):
    a, b = draw(3, 4, 12), draw(3, 9, 4)
    b[1] = 0
    prototypes, gains = arrow_prototypes(a, b)
    assert not prototypes[1].any()
    assert gains.tolist()[1] == 0 and gains[[0, 2]].all()


def test_small_batches_give_the_same_prototypes(experts, monkeypatch):
    whole = library_prototypes(experts)
    monkeypatch.setattr("lorary.transforms.stacks._BATCH_NUMEL", 1)
    for path, (prototypes, gains) in library_prototypes(experts).items():
        assert_same_direction(prototypes[gains > 0], whole[path][0][gains > 0])
        torch.testing.assert_close(gains, whole[path][1])


def test_rows_follow_the_names(experts):
    names = ["wide", "poetry"]
    for path, (prototypes, gains) in library_prototypes(experts, names).items():
        all_prototypes, all_gains = library_prototypes(experts)[path]
        torch.testing.assert_close(gains, all_gains[[2, 0]])
        assert_same_direction(prototypes, all_prototypes[[2, 0]])


def test_refactoring_an_expert_changes_nothing(draw):
    a, b, change = draw(4, 3, 12).double(), draw(4, 9, 3).double(), draw(4, 3, 3).double()
    prototypes, gains = arrow_prototypes(a, b)
    same, same_gains = arrow_prototypes(torch.linalg.solve(change, a), b @ change)
    assert_same_direction(same, prototypes)
    torch.testing.assert_close(same_gains, gains)


def test_dtypes_may_differ_between_experts(make_expert):
    experts = {"plain": make_expert("plain"), "half": make_expert("half", dtype=torch.bfloat16)}
    prototypes, gains = library_prototypes(experts)["layers.0.q"]
    assert prototypes.dtype == gains.dtype == torch.float32
    assert_same_direction(prototypes[1], dense_leading(*experts["half"].factors["layers.0.q"])[0])


def test_inputs_stay_untouched_and_answers_repeat(experts):
    before = {path: pair.a.clone() for path, pair in experts["wide"].factors.items()}
    first, second = library_prototypes(experts), library_prototypes(experts)
    assert all(torch.equal(pair.a, before[path]) for path, pair in experts["wide"].factors.items())
    for path in first:
        assert torch.equal(first[path][0], second[path][0])
        assert torch.equal(first[path][1], second[path][1])


def test_prototypes_of_factors_in_training_need_no_gradient(draw):
    a, b = draw(2, 3, 12).requires_grad_(), draw(2, 9, 3).requires_grad_()
    assert not arrow_prototypes(a, b)[0].requires_grad


def test_progress_counts_the_experts(experts):
    calls = []
    library_prototypes(experts, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_factors_that_disagree_are_refused(draw):
    with pytest.raises(ValueError, match=r"found a \[3, 4, 12\] and b \[2, 9, 4\]"):
        arrow_prototypes(draw(3, 4, 12), draw(2, 9, 4))
    with pytest.raises(ValueError, match=r"a must be \[E, R, I\].*found \[4, 12\]"):
        arrow_prototypes(draw(4, 12), draw(9, 4))


def test_weights_that_are_not_finite_are_refused_by_name(experts):
    factors = dict(experts["sql"].factors)
    bad = factors["layers.0.up"].a.clone()
    bad[0, 3] = torch.nan
    factors["layers.0.up"] = Factors(bad, factors["layers.0.up"].b)
    experts["sql"] = Expert("sql", "tiny", factors)
    with pytest.raises(FormatError, match=r"expert 'sql' has NaN.* in module 'layers\.0\.up'"):
        library_prototypes(experts)


def test_experts_of_different_base_shapes_are_refused_by_name(experts, make_expert):
    experts["alien"] = make_expert("alien", layers={"layers.0.q": (12, 16)})
    with pytest.raises(
        IncompatibleExpert, match=r"'poetry' has \[12, 12\] and expert 'alien' has \[12, 16\]"
    ):
        library_prototypes(experts)


def test_no_experts_and_wrong_names_are_refused(experts):
    with pytest.raises(ValueError, match="at least one expert is needed"):
        library_prototypes({})
    with pytest.raises(ValueError, match="more than once: 'sql'"):
        library_prototypes(experts, ["sql", "poetry", "sql"])
    with pytest.raises(UnknownExpert, match="no expert 'poerty': did you mean 'poetry'"):
        library_prototypes(experts, ["poerty"])
