"""Experts whose ``a`` is a known random start and something small that was learned."""

from dataclasses import replace

import pytest
import torch

from lorary.assembly import load_model
from lorary.experts import Factors
from lorary.experts.random_start import draw_start
from lorary.facts import calibrations
from lorary.facts import learned as learned_module
from lorary.facts.known import Facts
from lorary.facts.learned import subtract_starts
from lorary.facts.same_experts import check_loaded
from lorary.library import Library
from lorary.models.same_input import group_same_inputs
from lorary.routing import CalibratedConfig
from lorary.transforms.tied import tied_prototypes
from tests.facts.test_calibrations import GENERIC

NEEDS = CalibratedConfig(generic=GENERIC, ridge=0.01).needs
WHOLE = CalibratedConfig(generic=GENERIC, ridge=0.01, subtract_start=False).needs


@pytest.fixture
def begun(model, experts):
    """The experts, one of which began with the start of seed 5; one says so wrongly. And what was learned."""
    known = dict(sorted(experts.items()))
    first, second = list(known)[:2]
    order = [path for path in model.stack.layers if path in known[first].factors]
    start = draw_start(5, {path: known[first].factors[path].a.shape for path in order})
    learned = {path: 0.1 * pair.a / pair.a.norm() for path, pair in known[first].factors.items()}
    factors = {path: Factors(start[path] + learned[path], known[first].factors[path].b) for path in order}
    card = replace(known[first].card, provenance={"start_seed": 5})
    known[first] = replace(known[first], factors=factors, card=card)
    known[second] = replace(known[second], card=card)
    return known, first, second, learned


@pytest.fixture
def started(begun, build_tiny_base):
    """A model of these experts."""
    return load_model(build_tiny_base(), begun[0], router=None)


def test_the_start_is_subtracted_where_it_is_the_experts_own(begun, started):
    known, first, _, learned = begun
    found = subtract_starts(started.stack, [*reversed(known)])
    assert list(found) == [*reversed(known)]
    assert all(name == first or not own for name, own in found.items())
    assert found[first].keys() == learned.keys()
    for path, rows in found[first].items():
        torch.testing.assert_close(rows, learned[path], atol=1e-6, rtol=0)
        assert known[first].factors[path].a.norm() > 2 * learned[path].norm()


def test_rows_of_other_experts_stay_and_are_copied_only_beside_a_known_start(begun, started, model, experts):
    known, first, _, _ = begun
    for own, of_model, is_copied in ((known, started, True), (experts, model, False)):
        rows = Facts(of_model.base, of_model.stack, own).find("learned", NEEDS["learned"])["learned"]
        for path, layer in of_model.stack.layers.items():
            others = [of_model.stack.index(name) for name in own if name != first or not is_copied]
            assert torch.equal(rows[path][others], layer.a[others])
            assert (rows[path].data_ptr() != layer.a.data_ptr()) == is_copied


def test_prototypes_are_those_of_what_was_learned(begun, started):
    _, first, _, learned = begun
    router = started.router("arrow", subtract_start=True)
    names = list(started.names)
    for path, layer in started.stack.layers.items():
        found = router.routers[path].prototypes
        for place, name in enumerate(names):
            a = learned[path] if name == first else layer.a[place]
            change = layer.b[place][:, : len(a)] @ a
            cosine = abs(float(found[place] @ torch.linalg.svd(change).Vh[0]))
            assert cosine == pytest.approx(1.0 if change.any() else 0.0, abs=1e-4), (path, name)
        whole = started.router("arrow").routers[path].prototypes
        assert abs(float(found[names.index(first)] @ whole[names.index(first)])) < 0.99


def test_tied_prototypes_are_those_of_what_was_learned(begun, started):
    _, first, _, learned = begun
    place = list(started.names).index(first)
    found = started.router("arrow", subtract_start=True, tie_inputs=True).routers
    for group in group_same_inputs(started.stack):
        pairs = [
            (learned[path][None], started.stack.layers[path].b[place][None, :, : len(learned[path])])
            for path in group
        ]
        expected = tied_prototypes(pairs)[0][0]
        for path in group:
            assert abs(float(found[path].prototypes[place] @ expected)) == pytest.approx(1, abs=1e-4)


def test_a_start_that_no_training_changed_is_not_subtracted(begun, started, build_tiny_base):
    known, first, _, _ = begun
    shapes = {
        path: known[first].factors[path].a.shape
        for path in started.stack.layers
        if path in known[first].factors
    }
    start = draw_start(5, shapes)
    same = {path: Factors(start[path], pair.b) for path, pair in known[first].factors.items()}
    model = load_model(build_tiny_base(), {first: replace(known[first], factors=same)}, router=None)
    assert subtract_starts(model.stack, [first]) == {first: {}}


def test_a_renamed_expert_keeps_its_start(begun, build_tiny_base):
    known, first, _, learned = begun
    renamed = load_model(build_tiny_base(), {"new": known[first].rename("new")}, router=None)
    found = subtract_starts(renamed.stack, ["new"])["new"]
    for path, rows in learned.items():
        torch.testing.assert_close(found[path], rows, atol=1e-6, rtol=0)


def test_an_added_expert_has_its_start_and_a_removed_one_leaves_none(begun, build_tiny_base):
    known, first, second, _ = begun
    others = {name: expert for name, expert in known.items() if name != first}
    model = load_model(build_tiny_base(), others, router=None)
    model.add_expert(known[first])
    assert model.stack.start_seeds == {first: 5, second: 5}
    model.remove_expert(first)
    assert model.stack.start_seeds == {second: 5}
    assert model.to(torch.float64).stack.start_seeds == {second: 5}


def test_calibrations_and_router_see_the_same_rows(begun, started):
    known, first, _, learned = begun
    facts = Facts(started.base, started.stack, known)
    rows = facts.find("learned", NEEDS["learned"])["learned"]
    path = next(iter(learned))
    place = list(known).index(first)
    torch.testing.assert_close(rows[path][place, : len(learned[path])], learned[path], atol=1e-6, rtol=0)
    router = started.router("calibrated", generic=GENERIC).decider.router
    assert torch.equal(router.a[path], rows[path])
    found, whole = (facts.find("calibrations", needs["calibrations"]) for needs in (NEEDS, WHOLE))
    for name, tensors in found.items():
        differs = [
            not torch.equal(row, other) for row, other in zip(tensors[path], whole[name][path], strict=True)
        ]
        assert differs == [each == first for each in known], name


def test_one_model_takes_both_ways_in_turn(begun, started):
    _, _, _, learned = begun
    path = next(iter(learned))
    routers = [
        started.router("calibrated", generic=GENERIC, subtract_start=subtracts).decider.router
        for subtracts in (False, True, False)
    ]
    assert routers[0].a[path].data_ptr() == started.stack.layers[path].a.data_ptr()
    assert torch.equal(routers[0].a[path], routers[2].a[path])
    assert not torch.equal(routers[0].a[path], routers[1].a[path])
    assert torch.equal(
        routers[1].a[path],
        Facts(started.base, started.stack, begun[0]).find("learned", NEEDS["learned"])["learned"][path],
    )


def test_the_ridge_is_smaller_where_a_start_is_subtracted(begun, started):
    """Regression: an expert whose card has another start's seed was measured whole with the smaller ridge."""
    known, first, _, _ = begun
    facts = Facts(started.base, started.stack, known)

    def whiten(**options):
        needs = CalibratedConfig(generic=GENERIC, **options).needs["calibrations"]
        return next(iter(facts.find("calibrations", needs)["whiteners"].values()))

    default, small, large = whiten(), whiten(ridge=0.001), whiten(ridge=0.01)
    for row, name in enumerate(known):
        expected, other = (small, large) if name == first else (large, small)
        assert torch.equal(default[row], expected[row])
        assert not torch.equal(default[row], other[row]) or not default[row].any()


def test_only_an_added_experts_start_is_drawn(begun, build_tiny_base, monkeypatch):
    known, first, _, learned = begun
    model = load_model(build_tiny_base(), known, router="calibrated", generic=GENERIC)
    drawn = []
    subtract = learned_module._subtract_start
    monkeypatch.setattr(
        learned_module,
        "_subtract_start",
        lambda stack, name, shapes: drawn.append(name) or subtract(stack, name, shapes),
    )
    model.add_expert(known[first].rename("late"))
    assert set(drawn) == {"late"}
    rows = model.decider.router.a
    for path, expected in learned.items():
        for place in (0, len(known)):
            torch.testing.assert_close(rows[path][place, : len(expected)], expected, atol=1e-6, rtol=0)


def test_scores_are_those_of_an_expert_that_began_with_zeros(begun, started, build_tiny_base):
    known, first, _, learned = begun
    zero = {path: Factors(learned[path], pair.b) for path, pair in known[first].factors.items()}
    bare = replace(known[first].card, provenance={})
    other = load_model(
        build_tiny_base(), {**known, first: replace(known[first], factors=zero, card=bare)}, router=None
    )
    found, expected = (
        model.router("calibrated", generic=GENERIC, ridge=0.01).decider.router for model in (started, other)
    )
    x = torch.randn(7, 16, generator=torch.Generator().manual_seed(0))
    path = next(path for path in started.stack.layers if path.endswith("q_proj"))
    for one, two in zip(found.generic[path], expected.generic[path], strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.describe(path, x), expected.describe(path, x), atol=1e-4, rtol=1e-4)


def test_a_library_keeps_both_ways_apart_and_loads_each(begun, tmp_path, build_tiny_base, monkeypatch):
    library = Library.open(str(tmp_path / "lib"), create=True)
    library.add_all(begun[0])
    options = ({}, {"subtract_start": False})
    before = []
    for own in options:
        model = load_model(build_tiny_base(), library, router="calibrated", generic=GENERIC, **own)
        before.append(model.explain("morse").weights)
    monkeypatch.setattr(calibrations, "calibrate_layer", lambda *args: pytest.fail("both are stored"))
    for own, weights in zip(options, before, strict=True):
        model = load_model(build_tiny_base(), library, router="calibrated", generic=GENERIC, **own)
        assert torch.equal(model.explain("morse").weights, weights)
        check_loaded(model.stack, library[begun[1]], begun[1])


def test_what_a_model_stores_in_a_library_is_found_there(begun, tmp_path, build_tiny_base, monkeypatch):
    model = load_model(build_tiny_base(), begun[0], router="calibrated", generic=GENERIC)
    library = Library.open(str(tmp_path / "lib"), create=True)
    library.add_all(begun[0])
    model.facts.store(library)
    monkeypatch.setattr(calibrations, "calibrate_layer", lambda *args: pytest.fail("they are stored"))
    again = load_model(build_tiny_base(), library, router="calibrated", generic=GENERIC)
    assert torch.equal(again.explain("morse").weights, model.explain("morse").weights)
