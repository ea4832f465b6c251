"""What every router promises that decides per request, tested on each of them. A new one joins by itself."""

from dataclasses import FrozenInstanceError

import pytest
import torch

from lorary.facts import FACTS
from lorary.routing import configure_router
from lorary.routing.material import LayerMaterial, RequestMaterial
from lorary.routing.named import REQUEST_ROUTERS, list_options
from lorary.routing.request import NAMES, OUTPUT, AskingRouter, RefiningRouter, Runs

WIDTHS = {"first": 16, "second": 12, OUTPUT: 10}

# Router -> options to test it with, each a case of its own; {} where it needs none.
CASES = {
    "retrieval": [{}, {"nearest": 3, "top_k": 1}],
    # With a margin all experts may take part, however many are kept: see its own tests.
    "calibrated": [{"margin": None}, {"last_share": 0.0, "margin": None}],
    "logo": [{}, {"measure": "entropy", "runs": "alone"}, {"runs": "each"}],
    "qa_flora": [{}],
    "card": [{}, {"chunk": 2, "temperature": 3.0}],
    "hilora": [{}, {"temperature": 1.0}],
}
ALL = {
    f"{name} {options}" if options else name: (name, options)
    for name in REQUEST_ROUTERS
    for options in CASES.get(name, [{}])
}
CHOOSING = [name for name in REQUEST_ROUTERS if "top_k" in list_options(name)]


def require(router, option):
    """Skip a test of an option that the router under test does not have."""
    if option not in list_options(router):
        pytest.skip(f"{router} has no option {option}")


@pytest.fixture(params=ALL.values(), ids=ALL)
def make(request, make_request_material):
    """Builds the router under test over so many experts."""
    name, options = request.param

    def build(num_experts, order=None, **more):
        config = configure_router(name, {**options, **more})
        material = make_request_material(num_experts, order)
        config.check([str(number) for number in range(material.num_experts)])
        return REQUEST_ROUTERS[name].build(config, material)

    build.name = name
    return build


@pytest.fixture
def read(draw):
    """What a router sees of five requests: averages of what it describes, runs with experts, or names."""
    tokens = {place: draw(5, 6, width) for place, width in WIDTHS.items()}
    # Of six experts and the base model; each expert has a run of its own.
    changes = {place: draw(6, width) for place, width in WIDTHS.items()}
    names = draw(5, 6)

    def average(router, requests=slice(None), order=None):
        experts = list(range(6)) if order is None else order
        if isinstance(router, AskingRouter):
            return {NAMES: names[requests][:, experts[: len(router.cards)]]}
        if getattr(router, "runs", None) is Runs.EACH:
            return {place: run_each(router, place, requests, experts) for place in router.places}
        return {place: describe(router, place, tokens[place][requests]) for place in router.places}

    def run_each(router, place, requests, experts):
        known = place if place in tokens else OUTPUT
        num_experts = router.num_experts if hasattr(router, "num_experts") else len(experts)
        runs = [0 * changes[known][0], *(changes[known][expert] for expert in experts[:num_experts])]
        return torch.stack([describe(router, place, tokens[known][requests] + run) for run in runs], 1)

    def describe(router, place, texts):
        if router.last_share == 1.0:
            return router.describe(place, texts[:, -1]).float()
        return torch.stack([router.describe(place, x).float().mean(0) for x in texts])

    return average


def spread(answer, num_experts):
    """Spread an answer over all experts, ``[B, E]``; weights of groups of layers are averaged."""
    indices, weights = answer
    flat = weights if weights.dim() == 2 else weights.mean(1)
    return torch.zeros(len(indices), num_experts).scatter_add(1, indices, flat)


@pytest.mark.parametrize("top_k", [1, 4])
def test_answer_has_the_promised_shapes_and_dtypes(make, read, top_k):
    router = make(6, top_k=top_k)
    indices, weights = router.choose(read(router))
    assert indices.shape == (5, top_k) and weights.shape == (5, *weights.shape[1:-1], top_k)
    assert indices.dtype == torch.int64 and weights.dtype == torch.float32
    assert ((indices >= 0) & (indices < 6)).all()
    assert all(len(set(row)) == len(row) for row in indices.tolist())
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


def test_the_only_expert_kept_gets_everything(make, read):
    router = make(6, top_k=1)
    _, weights = router.choose(read(router))
    torch.testing.assert_close(weights, torch.ones_like(weights))


def test_requests_differ_in_what_they_get(make, read):
    router = make(6)
    assert len(router.choose(read(router))[0].unique()) > 1


def test_a_single_expert_is_chosen_for_everything(make, read):
    router = make(1)
    indices, weights = router.choose(read(router))
    assert not indices.any()
    torch.testing.assert_close(weights, torch.ones_like(weights))


def test_a_request_is_decided_the_same_alone_and_among_others(make, read):
    router = make(6, top_k=3)
    indices, weights = router.choose(read(router))
    alone, alone_weights = router.choose(read(router, slice(2, 3)))
    assert torch.equal(alone[0], indices[2])
    torch.testing.assert_close(alone_weights[0], weights[2])


def test_answers_repeat_and_leave_what_they_read_alone(make, read):
    router = make(6, top_k=3)
    averages = read(router)
    before = {place: rows.clone() for place, rows in averages.items()}
    first, second = router.choose(averages), router.choose(averages)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert all(torch.equal(rows, before[place]) for place, rows in averages.items())


def test_permuting_the_experts_permutes_the_answer(make, read):
    order = [3, 1, 5, 0, 2, 4]
    plain, permuted = make(6, top_k=3), make(6, order, top_k=3)
    expected = spread(plain.choose(read(plain)), 6)[:, order]
    torch.testing.assert_close(spread(permuted.choose(read(permuted, order=order)), 6), expected)


def test_a_high_temperature_makes_the_kept_ones_equal(make, read):
    require(make.name, "temperature")
    router = make(6, top_k=3, temperature=1e6)
    torch.testing.assert_close(router.choose(read(router))[1], torch.full((5, 3), 1 / 3), atol=1e-4, rtol=0)


def test_abstaining_takes_a_share_from_all_kept_experts_alike(make, read):
    require(make.name, "abstain")
    plain, abstaining = make(6, top_k=3, temperature=2.0), make(6, top_k=3, temperature=2.0, abstain=0.4)
    indices, weights = plain.choose(read(plain))
    kept, shares = abstaining.choose(read(abstaining))
    assert torch.equal(kept, indices)
    assert ((shares.sum(-1) > 0) & (shares.sum(-1) < 1)).all()
    torch.testing.assert_close(shares / shares.sum(-1, keepdim=True), weights)


def test_a_router_looks_only_where_there_is_something_to_see(make):
    router = make(6)
    blocks = {"blocks.0", "blocks.1"}
    assert set(router.places) <= {*WIDTHS, *blocks, NAMES}


@pytest.mark.parametrize("name", REQUEST_ROUTERS)
def test_what_a_router_needs_are_facts(name):
    for options in CASES.get(name, [{}]):
        assert configure_router(name, options).needs.keys() <= FACTS.keys()


@pytest.mark.parametrize(("name", "options"), ALL.values(), ids=ALL)
def test_a_router_without_what_it_needs_is_refused(name, options):
    bare = {path: LayerMaterial(num_experts=6) for path in ("first", "second")}
    for material in (RequestMaterial(num_experts=6), RequestMaterial(num_experts=6, layers=bare)):
        with pytest.raises(ValueError, match=r"this router needs .*, found no"):
            REQUEST_ROUTERS[name].build(configure_router(name, options), material)


@pytest.mark.parametrize("name", CHOOSING)
def test_more_experts_than_there_are_is_refused(name, make_request_material):
    message = "top_k must be between 1 and the number of experts, 6, found 7"
    config = configure_router(name, {"top_k": 7})
    with pytest.raises(ValueError, match=message):
        config.check([str(number) for number in range(6)])
    with pytest.raises(ValueError, match=message):
        REQUEST_ROUTERS[name].build(config, make_request_material(6))


@pytest.mark.parametrize("name", CHOOSING)
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("top_k", 0, "top_k must be at least 1, found 0"),
        ("temperature", 0.0, "temperature must be above 0, found 0.0"),
        (
            "abstain",
            float("nan"),
            "abstain must be finite, or None for no share of the base model, found nan",
        ),
    ],
)
def test_options_out_of_range_are_refused(name, option, value, message):
    require(name, option)
    with pytest.raises(ValueError, match=message):
        configure_router(name, {option: value})


@pytest.mark.parametrize("name", CHOOSING)
def test_all_faults_are_reported_at_once(name):
    require(name, "abstain")
    with pytest.raises(ValueError, match=r"top_k .*; temperature .*; abstain "):
        configure_router(name, {"top_k": -2, "temperature": -1.0, "abstain": float("inf")})


@pytest.mark.parametrize("name", REQUEST_ROUTERS)
def test_unknown_options_are_refused(name):
    with pytest.raises(ValueError, match=f"router {name!r} has no option 'colour': "):
        configure_router(name, {"colour": 1})


@pytest.mark.parametrize("name", REQUEST_ROUTERS)
def test_options_cannot_be_changed_afterwards(name):
    config = configure_router(name, {})
    for option in list_options(name):
        with pytest.raises(FrozenInstanceError):
            setattr(config, option, 1)


def test_a_choice_for_requests_is_refined_to_a_choice_for_their_tokens(make, read, draw):
    router = make(6, top_k=3)
    if not isinstance(router, RefiningRouter):
        pytest.skip("its choice is the same for all layers and tokens of a request")
    indices, weights = router.choose(read(router))
    chooser = router.refine(indices, weights, "outputs")
    rows = torch.tensor([2, 0, -1, 4])
    for path in ("first", "second", "elsewhere"):
        choice = chooser.choose(path, draw(4, WIDTHS.get(path, 3)), rows)
        rank = choice.components or 1
        assert choice.indices.shape == choice.weights.shape and choice.indices.shape[0] == 4
        assert not choice.weights[2].any()
        for token, row in ((0, 2), (1, 0), (3, 4)):
            used = choice.indices[token][choice.weights[token] != 0] // rank
            assert set(used.tolist()) <= set(indices[row].tolist()) and len(used)
