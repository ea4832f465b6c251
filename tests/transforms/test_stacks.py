import pytest
import torch

from lorary.errors import IncompatibleExpert
from lorary.transforms.stacks import batch_factors


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


def test_layers_of_different_shapes_are_refused_by_name(experts, make_expert):
    experts["alien"] = make_expert("alien", layers={"layers.0.q": (16, 12)})
    with pytest.raises(IncompatibleExpert, match=r"expert 'alien' has \[16, 12\]: choose experts of one"):
        list(batch_factors(experts, list(experts)))
