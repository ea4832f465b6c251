"""Stacks of experts that are read from files together hold what each expert has, bit for bit."""

import pytest
import torch
from torch import nn

from lorary.experts import Expert, Factors, read_peft, write_peft
from lorary.models.stacks import stack_experts

SQUARE, WIDE = "q_proj", "up_proj"
LAYERS = {SQUARE: nn.Linear(6, 6), WIDE: nn.Linear(6, 10)}
# Module -> rank, for each expert.
RANKS = [{SQUARE: 2, WIDE: 2}, {SQUARE: 2, WIDE: 2}, {SQUARE: 6, WIDE: 1}, {WIDE: 3}, {SQUARE: 2, WIDE: 2}]


@pytest.fixture
def experts():
    """Of mixed ranks and layers; the last one adds nothing."""
    generator = torch.Generator().manual_seed(0)

    def draw(index, ranks):
        factors = {
            path: Factors(
                torch.randn(rank, LAYERS[path].in_features, generator=generator),
                torch.randn(LAYERS[path].out_features, rank, generator=generator) * (index < 4),
            )
            for path, rank in ranks.items()
        }
        return Expert(f"expert-{index}", "", factors)

    return [draw(index, ranks) for index, ranks in enumerate(RANKS)]


@pytest.mark.parametrize("chosen", [slice(None), slice(0, 2), slice(3, 4), slice(4, 5)])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float64])
def test_stacks_hold_each_expert_and_zeros(experts, tmp_path, chosen, stored, dtype):
    some = [expert.to(stored) for expert in experts[chosen]]
    for expert in some:
        write_peft(expert, tmp_path / expert.name)
    read = [read_peft(tmp_path / expert.name) for expert in some]
    layers = {path: layer for path, layer in LAYERS.items() if any(path in own.factors for own in some)}
    from_files, from_memory = (stack_experts(layers, own, dtype) for own in (read, some))
    for path, (a, b_t, ranks) in from_files.items():
        assert a.dtype == b_t.dtype == (dtype or torch.float32)
        assert ranks == [own.ranks.get(path, 0) for own in some] and a.shape[1] == max(ranks)
        for index, (expert, rank) in enumerate(zip(some, ranks, strict=True)):
            if rank:
                pair = expert.factors[path]
                assert torch.equal(a[index, :rank], pair.a.to(a.dtype))
                assert torch.equal(b_t[index, :rank], pair.b.T.to(a.dtype))
            assert not a[index, rank:].any() and not b_t[index, rank:].any()
        assert torch.equal(a, from_memory[path].a) and torch.equal(b_t, from_memory[path].b_t)
