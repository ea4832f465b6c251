"""What merging methods promise, tested on each of them. A new method joins by a line in the table."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from lorary.experts import Expert, Factors
from lorary.transforms.merging import MERGES, merge
from lorary.transforms.merging.options import build_config
from lorary.transforms.merging.spaces import merge_in


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What one method promises, besides what all do."""

    method: str
    space: str = "delta"
    options: dict[str, Any] = field(default_factory=dict)
    any_order: bool = True
    alone: dict[str, Any] | None = None
    """Options with which one expert returns itself; None if it does not."""
    scales: bool = True
    """Scaling all experts scales the merge."""
    any_factors: bool = True
    """It does not matter how a weight change is factored."""
    ignores_zeros: bool = True
    num_experts: int = 3


ALL = {
    "linear": Promise(method="linear", alone={}),
    "linear, factors apart": Promise(method="linear", space="factors", alone={}, any_factors=False),
    "cat": Promise(method="cat", alone={}),
    "task_arithmetic": Promise(method="task_arithmetic", options={"scale": 0.4}, alone={"scale": 1.0}),
    "ties": Promise(method="ties", options={"density": 0.4}, alone={"density": 1.0}),
    "ties, old norm": Promise(
        method="ties", options={"density": 0.4, "rescale": True}, alone={"density": 1.0, "rescale": True}
    ),
    "ties, cores": Promise(method="ties", space="core", alone={"density": 1.0}),
    "ties, factors apart": Promise(method="ties", space="factors", alone={"density": 1.0}, any_factors=False),
    "dare": Promise(method="dare", alone={"density": 1.0}),
    "dare, cores": Promise(method="dare", space="core", alone={"density": 1.0}),
    "dare, old norm": Promise(method="dare", options={"rescale_to": "norm"}, alone={"density": 1.0}),
    "dare_ties": Promise(method="dare_ties", alone={"density": 1.0}),
    "della": Promise(method="della", alone={"density": 1.0, "epsilon": 0.0}),
    "della, sum": Promise(
        method="della", options={"elect": "sum"}, alone={"density": 1.0, "epsilon": 0.0, "elect": "sum"}
    ),
    "breadcrumbs": Promise(method="breadcrumbs", alone={"density": 1.0, "gamma": 0.0}),
    "breadcrumbs, signs": Promise(
        method="breadcrumbs",
        options={"elect": "sign"},
        alone={"density": 1.0, "gamma": 0.0, "elect": "sign"},
    ),
    # A further expert changes where the experts differ, even one of zeros.
    "sce": Promise(method="sce", options={"density": 0.4}, ignores_zeros=False),
    # In the middle of the arc.
    "slerp": Promise(method="slerp", num_experts=2, ignores_zeros=False),
    "nuslerp": Promise(method="nuslerp", num_experts=2, ignores_zeros=False),
    "nuslerp, rows": Promise(
        method="nuslerp", options={"flatten": False}, num_experts=2, ignores_zeros=False
    ),
    "nuslerp, columns": Promise(
        method="nuslerp", options={"flatten": False, "row_wise": True}, num_experts=2, ignores_zeros=False
    ),
    # A further expert shortens the mean.
    "karcher": Promise(method="karcher", alone={}, ignores_zeros=False),
    "model_stock": Promise(method="model_stock", ignores_zeros=False),
    "model_stock, filters": Promise(method="model_stock", options={"filter_wise": True}, ignores_zeros=False),
    # From the first expert to the second; its divergences are of exponentials.
    "arcee_fusion": Promise(
        method="arcee_fusion", num_experts=2, any_order=False, ignores_zeros=False, scales=False
    ),
    "knots": Promise(method="knots", alone={"density": 1.0}),
    "knots, linear": Promise(method="knots", options={"inner": "linear"}, alone={"inner": "linear"}),
    "core": Promise(method="core", alone={"density": 1.0}),
    "core of della": Promise(
        method="core", options={"inner": "della"}, alone={"inner": "della", "density": 1.0, "epsilon": 0.0}
    ),
    "ctm": Promise(method="ctm", alone={"density": 1.0}),
    "ctm, their norms": Promise(
        method="ctm",
        options={"inner": "linear", "beta": 1.0},
        alone={"inner": "linear", "beta": 1.0},
    ),
    "tsv": Promise(method="tsv", alone={}),
    "iso": Promise(method="iso"),
    "iso_cts": Promise(method="iso_cts", options={"common": 0.5}, ignores_zeros=False),
    # The rest of an expert is approximated by fewer of its rows and columns.
    "svd_cur": Promise(method="svd_cur", alone={"num_lines": 3}),
    "svd_cur, no shared": Promise(method="svd_cur", options={"shared": 0.0}, alone={"shared": 0.0}),
    "wudi": Promise(method="wudi", alone={}),
    "wudi, adam": Promise(
        method="wudi",
        options={"solver": "adam", "num_steps": 5},
        alone={"solver": "adam"},
        ignores_zeros=True,
    ),
    "regmean": Promise(method="regmean", alone={}),
    # The first expert is another thing than those taken away from it.
    "subtract": Promise(method="subtract", any_order=False),
}


@pytest.fixture(params=ALL.values(), ids=ALL)
def promise(request):
    return request.param


def those(keep):
    """Run a test on the methods that promise what it tests."""
    names = [name for name, promise in ALL.items() if keep(promise)]
    return pytest.mark.parametrize("promise", [ALL[name] for name in names], ids=names)


@pytest.fixture
def layer(promise, make_layer):
    """One layer of experts of mixed ranks, with weights of all kinds that the method takes."""
    weights = (1.0, 0.5, 0.8)[: promise.num_experts]
    return add_grams(promise, make_layer((20, 14), (3, 1, 4)[: promise.num_experts], weights))


def add_grams(promise, layer):
    if not MERGES[promise.method].needs_inputs:
        return layer
    generator = torch.Generator().manual_seed(9)
    inputs = torch.randn(len(layer.pairs), 50, layer.shape[1], generator=generator, dtype=torch.float64)
    return replace(layer, grams=inputs.mT @ inputs)


def merge_dense(promise, layer, options=None):
    kind = MERGES[promise.method]
    config = build_config(promise.method, kind.config, promise.options if options is None else options)
    change = merge_in(promise.space, kind.merge, layer, config)
    return change.b @ change.a if isinstance(change, tuple) else change


def choose(layer, order):
    """Take some experts of a layer, in an order."""
    return replace(
        layer,
        names=tuple(layer.names[index] for index in order),
        pairs=tuple(layer.pairs[index] for index in order),
        weights=tuple(layer.weights[index] for index in order),
        grams=None if layer.grams is None else layer.grams[list(order)],
    )


def change_pairs(layer, change):
    return replace(layer, pairs=tuple(Factors(*change(a, b)) for a, b in layer.pairs))


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_every_method_is_in_the_table():
    assert {promise.method for promise in ALL.values()} == set(MERGES)


def test_the_merge_is_as_large_as_the_layer_and_means_something(promise, layer):
    merged = merge_dense(promise, layer)
    assert merged.shape == (20, 14) and merged.dtype == torch.float64
    assert merged.any() and merged.isfinite().all()


@those(lambda promise: promise.any_order)
def test_the_order_of_the_experts_does_not_matter(promise, layer):
    turned = choose(layer, list(reversed(range(promise.num_experts))))
    assert_same(merge_dense(promise, turned), merge_dense(promise, layer))


# A step of Adam has one size, whatever the weights'.
@those(lambda promise: promise.scales and promise.options.get("solver") != "adam")
@pytest.mark.parametrize("factor", [3.0, -0.5])
def test_scaling_all_experts_scales_the_merge(promise, layer, factor):
    # Factors apart are merged twice, each time with half of the factor.
    scaled = change_pairs(layer, lambda a, b: (abs(factor) ** 0.5 * a, factor / abs(factor) ** 0.5 * b))
    assert_same(merge_dense(promise, scaled), factor * merge_dense(promise, layer))


@those(lambda promise: promise.alone is not None)
def test_one_expert_returns_itself(promise, make_layer):
    layer = add_grams(promise, make_layer((20, 14), ranks=(3,), weights=(1.0,)))
    (a, b) = layer.pairs[0]
    assert_same(merge_dense(promise, layer, promise.alone), b @ a)


@those(lambda promise: promise.any_factors)
def test_how_weight_changes_are_factored_does_not_matter(promise, layer):
    generator = torch.Generator().manual_seed(2)

    def refactor(a, b):
        change = torch.randn(len(a), len(a), generator=generator, dtype=torch.float64)
        return torch.linalg.solve(change, a), b @ change

    assert_same(merge_dense(promise, change_pairs(layer, refactor)), merge_dense(promise, layer))


# With factors apart, ties counts the zeros of the factors as entries.
@those(lambda promise: promise is not ALL["ties, factors apart"])
def test_ranks_filled_up_with_zeros_change_nothing(promise, layer):
    def fill(a, b):
        return torch.cat([a, torch.zeros_like(a[:1])]), torch.cat([b, torch.zeros_like(b[:, :1])], 1)

    assert_same(merge_dense(promise, change_pairs(layer, fill)), merge_dense(promise, layer))


@those(lambda promise: promise.ignores_zeros)
@pytest.mark.parametrize("zeros", ["ab", "a", "b"])
def test_an_expert_of_zeros_adds_nothing(promise, layer, zeros):
    if promise.space == "factors":
        zeros = "ab"
    extra = Factors(torch.ones(2, 14).double(), torch.ones(20, 2).double())
    extra = extra._replace(**{letter: getattr(extra, letter) * 0 for letter in zeros})
    grams = None if layer.grams is None else torch.cat([layer.grams, layer.grams[:1] * 0])
    wider = replace(
        layer,
        names=(*layer.names, "zero"),
        pairs=(*layer.pairs, extra),
        weights=(*layer.weights, 0.7),
        grams=grams,
    )
    assert_same(merge_dense(promise, wider), merge_dense(promise, layer))


def test_inputs_stay_untouched_and_answers_repeat(promise, layer):
    before = [factor.clone() for pair in layer.pairs for factor in pair]
    first, second = merge_dense(promise, layer), merge_dense(promise, layer)
    assert torch.equal(first, second)
    after = [factor for pair in layer.pairs for factor in pair]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


# Random numbers differ between dtypes.
@those(lambda promise: promise.options.get("inner", promise.method) not in ("dare", "dare_ties", "della"))
def test_float32_gives_what_float64_gives(promise, layer):
    single = replace(layer, pairs=tuple(Factors(a.float(), b.float()) for a, b in layer.pairs))
    back = change_pairs(single, lambda a, b: (a.double(), b.double()))
    merged = merge_dense(promise, single)
    assert merged.dtype == torch.float32
    torch.testing.assert_close(
        merged.double(), merge_dense(promise, back), rtol=1e-4, atol=1e-4 * merged.abs().max().item()
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_merged_expert_has_the_dtype_of_the_experts(promise, make_expert, dtype):
    experts = [make_expert(f"expert-{index}", 2, dtype) for index in range(promise.num_experts)]
    modules = {path: (pair.b.shape[0], pair.a.shape[1]) for path, pair in experts[0].factors.items()}
    grams = {path: torch.eye(inputs).repeat(len(experts), 1, 1) for path, (_, inputs) in modules.items()}
    merged = merge(
        experts,
        promise.method,
        space=promise.space if promise.method not in ("core", "ctm") else None,
        grams=grams if MERGES[promise.method].needs_inputs else None,
        **promise.options,
    )
    assert isinstance(merged, Expert) and merged.dtypes == (dtype,)
    assert set(merged.factors) == set(modules)
