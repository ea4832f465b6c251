import pytest
import torch

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors
from lorary.transforms import random_expert


def dense_norm(pair):
    return torch.linalg.matrix_norm(pair.b.double() @ pair.a.double()).item()


def test_norm_of_every_layer_is_the_mean_of_the_experts_that_change_it(experts):
    control = random_expert(experts)
    for path, pair in control.factors.items():
        norms = [dense_norm(expert.factors[path]) for expert in experts.values() if path in expert.factors]
        assert dense_norm(pair) == pytest.approx(sum(norms) / len(norms), rel=1e-5)


def test_shapes_are_those_of_the_experts_at_their_largest_rank(experts):
    control = random_expert(experts)
    assert {path: (pair.b.shape, pair.a.shape) for path, pair in control.factors.items()} == {
        path: (pair.b.shape, pair.a.shape) for path, pair in experts["wide"].factors.items()
    }


def test_it_says_what_it_is(experts):
    control = random_expert(experts, seed=7, name="noise")
    assert (control.name, control.base_model) == ("noise", "tiny")
    assert control.card.tags == ("control",)
    assert control.card.parents == ("poetry", "sql", "wide", "few")
    assert control.card.provenance["seed"] == 7
    assert control.card.base_fingerprint == "f00d" and control.card.fan_in_fan_out


def test_the_seed_decides_and_the_order_of_the_experts_does_not(experts):
    control = random_expert(experts, seed=1)
    same = random_expert(dict(reversed(experts.items())), seed=1)
    other = random_expert(experts, seed=2)
    for path, (a, b) in control.factors.items():
        assert torch.equal(a, same.factors[path].a)
        torch.testing.assert_close(b, same.factors[path].b)
        assert not torch.equal(a, other.factors[path].a)


def test_it_points_elsewhere_than_the_experts(make_expert):
    expert = make_expert("one", layers={"big": (60, 60)})
    (control,) = random_expert({"one": expert}).factors.values()
    (own,) = expert.factors.values()
    inner = ((control.b @ control.a) * (own.b @ own.a)).sum() / (dense_norm(control) * dense_norm(own))
    assert inner.abs() < 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtype_is_that_of_the_experts(make_expert, dtype):
    control = random_expert({"one": make_expert("one", dtype=dtype)})
    assert control.dtypes == (dtype,)


def test_global_random_numbers_are_left_alone(experts):
    before = torch.get_rng_state()
    random_expert(experts)
    assert torch.equal(torch.get_rng_state(), before)


def test_untrained_experts_have_an_untrained_control(make_expert):
    factors = {path: Factors(a, torch.zeros_like(b)) for path, (a, b) in make_expert("x").factors.items()}
    control = random_expert({"x": Expert("x", "tiny", factors)})
    assert all(not pair.b.any() and pair.a.any() for pair in control.factors.values())


def test_no_experts_and_different_shapes_are_refused(experts, make_expert):
    with pytest.raises(ValueError, match="at least one expert is needed"):
        random_expert({})
    experts["alien"] = make_expert("alien", layers={"layers.0.q": (16, 12)})
    with pytest.raises(IncompatibleExpert, match=r"module 'layers\.0\.q'.*'alien' has \[16, 12\]"):
        random_expert(experts)
