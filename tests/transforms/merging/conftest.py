"""Layers of a few random experts, and the dense float64 matrices that methods are compared with."""

import pytest
import torch

from lorary.experts import Expert, ExpertCard, Factors
from lorary.transforms.merging import MergeLayer
from lorary.transforms.merging.spaces import form_dense

# Square, oblong both ways, and ranks whose sum is above one width and above both.
SHAPES = {"square": (12, 12), "tall": (20, 12), "wide": (12, 20), "narrow": (7, 30), "small": (6, 5)}
RANKS = (3, 1, 4)
# Module path -> (O, I).
MODULES = {
    "model.layers.0.attn.q": (12, 12),
    "model.layers.0.mlp.up": (20, 12),
    "model.layers.1.attn.q": (12, 12),
    "model.layers.1.mlp.down": (12, 20),
}


@pytest.fixture
def make_layer():
    """Draw one layer of experts of mixed ranks."""

    def make(shape=(20, 12), ranks=RANKS, weights=None, seed=0, dtype=torch.float64, **settings):
        generator = torch.Generator().manual_seed(seed)
        pairs = tuple(
            Factors(
                torch.randn(rank, shape[1], generator=generator, dtype=torch.float64).to(dtype),
                torch.randn(shape[0], rank, generator=generator, dtype=torch.float64).to(dtype),
            )
            for rank in ranks
        )
        names = tuple(f"expert-{index}" for index in range(len(ranks)))
        weights = (1 / len(ranks),) * len(ranks) if weights is None else tuple(weights)
        return MergeLayer(path="layers.0.q", names=names, pairs=pairs, weights=weights, **settings)

    return make


@pytest.fixture(params=SHAPES, ids=str)
def layer(request, make_layer):
    """One layer of three experts, for each of the shapes."""
    return make_layer(SHAPES[request.param])


@pytest.fixture
def deltas():
    """Give a layer's weight changes as one float64 tensor ``[E, O, I]``."""
    return lambda layer: torch.stack([b.double() @ a.double() for a, b in layer.pairs])


@pytest.fixture
def dense():
    """Multiply a merged change out, in float64."""
    return lambda change: form_dense(change).double()


@pytest.fixture
def make_expert():
    """Draw an expert of some modules."""

    def make(name, rank=3, dtype=torch.float32, modules=MODULES, base="tiny", **card):
        generator = torch.Generator().manual_seed(sum(name.encode()) + rank)
        factors = {
            path: Factors(
                torch.randn(rank, inputs, generator=generator).to(dtype),
                torch.randn(outputs, rank, generator=generator).to(dtype),
            )
            for path, (outputs, inputs) in modules.items()
        }
        return Expert(name, base, factors, ExpertCard(**card))

    return make


@pytest.fixture
def experts(make_expert):
    """Three experts of ranks 3, 1 and 4 for one base model."""
    return {
        "poetry": make_expert("poetry", 3, tasks=("odes",), base_fingerprint="f00d"),
        "sql": make_expert("sql", 1, tasks=("queries",), base_fingerprint="f00d"),
        "chess": make_expert("chess", 4, tasks=("mates", "odes"), base_fingerprint="f00d"),
    }


@pytest.fixture
def module_delta():
    """Give an expert's weight change of one module, in float64."""
    return lambda expert, path: expert.factors[path].b.double() @ expert.factors[path].a.double()


@pytest.fixture
def dense_trim():
    """Zero all but the largest entries of each of some dense matrices ``[E, O, I]``."""

    def trim(d, densities):
        kept = []
        for matrix, density in zip(d, densities, strict=True):
            count = max(1, int(density * matrix.numel()))
            bound = matrix.abs().flatten().sort(descending=True).values[count - 1]
            kept.append(matrix * (matrix.abs() >= bound))
        return torch.stack(kept)

    return trim


@pytest.fixture
def dense_agree():
    """Elect a sign per entry of dense matrices ``[E, O, I]``; average or add the entries that have it."""

    def agree(d, weights, normalize=True, votes=None):
        w = torch.tensor(weights, dtype=d.dtype)[:, None, None]
        v = w if votes is None else torch.tensor(votes, dtype=d.dtype)[:, None, None]
        sign = (v * d).sum(0).sign()
        chosen = ((d * w.sign()).sign() == sign) & (sign != 0)
        total = (w * d * chosen).sum(0)
        return total / (w.abs() * chosen).sum(0).where(chosen.any(0), 1.0) if normalize else total

    return agree
