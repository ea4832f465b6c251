import pytest
import torch

from lorary.experts import Expert, Factors
from lorary.transforms.merging import MERGES, make_recipe, merge, plan_merge


def test_the_plan_says_what_will_be_merged(experts):
    plan = plan_merge(experts, make_recipe(experts, "ties", rank=2, dtype=torch.bfloat16))
    assert (plan.method, plan.space, plan.base_model) == ("ties", "delta", "tiny")
    assert plan.names == ("poetry", "sql", "chess") and plan.num_rounds == 1
    assert [layer.rank for layer in plan.layers] == [2] * 4 and plan.layers[0].total_rank == 8
    assert plan.expert_bytes == sum(4 * expert.num_parameters for expert in experts.values())


@pytest.mark.parametrize("rank", [None, "full", 3])
def test_the_result_has_the_size_that_was_planned(experts, rank):
    for method in ("linear", "cat", "ties"):
        plan = plan_merge(experts, make_recipe(experts, method, rank=rank))
        merged = merge(experts, method, rank=rank)
        assert merged.ranks == {layer.path: layer.rank for layer in plan.layers}
        assert plan.result_bytes == 4 * merged.num_parameters


@pytest.mark.parametrize("method", sorted(name for name, kind in MERGES.items() if kind.max_experts is None))
def test_every_method_has_an_estimate(experts, method):
    for space in MERGES[method].spaces:
        plan = plan_merge(experts, make_recipe(experts, method, space=space))
        assert 0 < plan.seconds < 1 and plan.expert_bytes < plan.peak_bytes < 2**20


def test_large_experts_are_read_in_several_rounds():
    shape = {f"layers.{n}.up": (14336, 4096) for n in range(32)}
    factors = {
        path: Factors(torch.empty(16, i, device="meta"), torch.empty(o, 16, device="meta"))
        for path, (o, i) in shape.items()
    }
    experts = {f"expert-{n}": Expert(f"expert-{n}", "big", factors) for n in range(256)}
    linear = plan_merge(experts, make_recipe(experts, "linear"))
    assert linear.expert_bytes == 256 * 32 * 16 * 18432 * 4
    assert linear.num_rounds == 3 and 2**32 < linear.peak_bytes < 12 * 2**30
    assert plan_merge(experts, make_recipe(experts, "ties")).seconds > 5 * linear.seconds
