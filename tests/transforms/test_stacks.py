import pytest
import torch

from lorary.errors import IncompatibleExpert
from lorary.transforms.stacks import batch_factors, stack_factors


def test_stacked_factors_multiply_to_each_expert_or_to_zero(experts):
    a, b = stack_factors(experts, "layers.1.q")
    assert a.shape == (4, 15, 12) and b.shape == (4, 12, 15)
    for index, name in enumerate(["poetry", "sql", "wide"]):
        own = experts[name].factors["layers.1.q"]
        torch.testing.assert_close(b[index] @ a[index], own.b @ own.a)
    assert not a[3].any() and not b[3].any()


def test_dtype_can_be_asked_for(experts):
    a, b = stack_factors(experts, "layers.0.up", torch.bfloat16)
    assert a.dtype == b.dtype == torch.bfloat16


@pytest.mark.parametrize("numel", [1, 200, 2**22])
def test_batches_hold_every_pair_once(experts, monkeypatch, numel):
    monkeypatch.setattr("lorary.transforms.stacks._BATCH_NUMEL", numel)
    names, found = list(experts), set()
    for paths, where, a, b in batch_factors(experts, names):
        assert len(a) == len(b) == len(paths)
        for path, own_a, own_b in zip(paths, a, b, strict=True):
            for name, one_a, one_b in zip(names[where], own_a, own_b, strict=True):
                pair = experts[name].factors[path]
                assert torch.equal(one_a, pair.a) and torch.equal(one_b, pair.b)
                assert (path, name) not in found
                found.add((path, name))
    assert len(found) == sum(len(expert.factors) for expert in experts.values())


def test_experts_are_read_once_each(experts):
    read = []

    class Counting(dict):
        def __getitem__(self, name):
            read.append(name)
            return super().__getitem__(name)

    assert len(list(batch_factors(Counting(experts), list(experts)))) > 0
    assert read == list(experts)


def test_a_layer_nobody_changes_is_refused(experts):
    with pytest.raises(ValueError, match=r"must change module 'layers\.7\.q', found none among 4"):
        stack_factors(experts, "layers.7.q")


def test_layers_of_different_shapes_are_refused_by_name(experts, make_expert):
    experts["alien"] = make_expert("alien", layers={"layers.0.q": (16, 12)})
    with pytest.raises(IncompatibleExpert, match=r"expert 'alien' has \[16, 12\]: were they trained on"):
        stack_factors(experts, "layers.0.q")
