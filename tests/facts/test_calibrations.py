import pytest
import torch

from lorary.assembly import load_model
from lorary.facts import calibrations
from lorary.facts.generic_statistics import measure_deviations, measure_readings
from lorary.facts.generic_text import GenericRequests
from lorary.facts.known import Facts
from lorary.library import Library
from lorary.routing import CalibratedConfig
from lorary.routing.calibrated import whiten_readings
from lorary.routing.calibrated_router import DeviationMeter
from lorary.routing.spectr import compute_norm_roots

GENERIC = ("Some text of no task.", "And another one, 1 2 3.")
CONFIG = CalibratedConfig(generic=GENERIC)


@pytest.fixture
def readings(monkeypatch):
    """How many experts were calibrated, each time that generic requests were read."""
    calls = []

    def measure(stack, a, sequences, **options):
        calls.append(max(len(rows) for rows in a.values()))
        return measure_readings(stack, a, sequences, **options)

    monkeypatch.setattr(calibrations, "measure_readings", measure)
    return calls


@pytest.mark.parametrize("most_kept", [2**31, 0])
def test_the_steps_are_told_once_until_the_last(model, experts, monkeypatch, most_kept):
    monkeypatch.setattr(calibrations, "MOST_KEPT", most_kept)
    events = []
    facts = Facts(model.base, model.stack, experts, lambda *event: events.append(event))
    for _ in range(2):
        facts.find("calibrations", CONFIG.needs["calibrations"])
    assert {what for what, _, _ in events} == {
        f"calibrating {len(experts)} experts on generic requests, once: the result is stored"
    }
    steps = [done for _, done, _ in events]
    assert steps == list(range(len(steps))) and events[-1][1] == events[-1][2] == (1 if most_kept else 2)


def test_without_a_listener_the_work_is_in_the_log(model, experts, caplog):
    caplog.set_level("INFO", "lorary")
    Facts(model.base, model.stack, experts).find("calibrations", CONFIG.needs["calibrations"])
    assert [record.message[:11] for record in caplog.records] == ["calibrating"]


def test_each_expert_comes_out_as_calibrated_alone_and_by_hand(model, experts):
    found = Facts(model.base, model.stack, experts).find("calibrations", CONFIG.needs["calibrations"])
    sequences = GenericRequests(model.base, model.stack, GENERIC).sequences()
    for index, expert in enumerate(experts.values()):
        a = {path: pair.a[None] for path, pair in expert.factors.items()}
        whiteners, offsets = {}, {}
        for path, moments in measure_readings(model.stack, a, sequences).items():
            roots = compute_norm_roots(expert.factors[path].b[None])
            whiteners[path], offsets[path] = whiten_readings(roots, *moments, CONFIG.ridge)
        meter = DeviationMeter(a, whiteners, offsets, last_share=CONFIG.last_share)
        expected = measure_deviations(model.stack, meter, sequences)
        for path in model.stack.layers:
            means, deviations = found["generic_means"][path], found["generic_deviations"][path]
            if path not in expert.factors:
                assert not found["whiteners"][path][index].any() and means[index] == 0
                continue
            torch.testing.assert_close(means[index], expected[path][0][0], atol=1e-3, rtol=1e-3)
            torch.testing.assert_close(deviations[index], expected[path][1][0], atol=1e-3, rtol=1e-2)
            rank = whiteners[path].shape[1]
            whitener, offset = found["whiteners"][path][index], found["offsets"][path][index]
            assert not whitener[rank:].any() and not offset[rank:].any()
            metric = whiteners[path][0] @ whiteners[path][0].T
            torch.testing.assert_close((whitener @ whitener.T)[:rank, :rank], metric, atol=1e-3, rtol=1e-3)
            expected_offset = whiteners[path][0] @ offsets[path][0]
            torch.testing.assert_close((whitener @ offset)[:rank], expected_offset, atol=1e-3, rtol=1e-3)


def test_one_reading_of_the_generic_requests_gives_the_same_as_two(model, experts, monkeypatch):
    options = CONFIG.needs["calibrations"]
    once = Facts(model.base, model.stack, experts).find("calibrations", options)
    monkeypatch.setattr(calibrations, "MOST_KEPT", 0)
    twice = Facts(model.base, model.stack, experts).find("calibrations", options)
    for field, layers in twice.items():
        for path, expected in layers.items():
            torch.testing.assert_close(once[field][path], expected, atol=1e-4, rtol=1e-4)


def test_each_is_found_once_and_then_kept(build_tiny_base, experts, readings):
    for _ in range(2):
        model = load_model(build_tiny_base(), experts, router="calibrated", generic=GENERIC)
        model.set_router("calibrated", CalibratedConfig(generic=GENERIC, top_k=3))
    assert readings == [5]
    model.set_router("calibrated", CalibratedConfig(generic=GENERIC, ridge=0.2))
    model.set_router("calibrated", CalibratedConfig(generic=GENERIC, last_share=0.5))
    model.set_router("calibrated", CalibratedConfig(generic=GENERIC[::-1]))
    assert readings[1:] == [5, 5, 5]


def test_a_library_keeps_them_and_needs_no_text_again(tmp_path, build_tiny_base, experts, readings, cache):
    library = Library.open(str(tmp_path / "lib"), create=True)
    for expert in experts.values():
        library.add(expert)
    expected = load_model(build_tiny_base(), library, router="calibrated").explain("morse").weights
    assert [path.parent.name for path in cache.rglob("*.safetensors")] == ["generic-text-1"]
    for path in cache.rglob("*.safetensors"):
        path.unlink()
    model = load_model(build_tiny_base(), library, router="calibrated")
    assert torch.equal(model.explain("morse").weights, expected)
    assert readings == [5]
    assert list(cache.rglob("*.safetensors")) == []


def test_only_a_new_expert_is_calibrated(base, experts, draw_expert, readings):
    model = load_model(base, experts, router="calibrated", generic=GENERIC)
    model.add_expert(draw_expert(base, "late"))
    model.remove_expert("dates")
    assert readings == [5, 1]
    assert len(model.decider.router.whiteners[next(iter(model.stack.layers))]) == 5


def test_an_expert_may_come_back_with_other_weights(base, experts, draw_expert, readings):
    model = load_model(base, experts, router="calibrated", generic=GENERIC)
    model.remove_expert("morse")
    model.add_expert(draw_expert(base, "morse", rank=3, seed=99))
    assert readings[1:] == [1]


def test_an_untrained_expert_changes_no_layer_and_scores_nothing(base, experts):
    blank = experts["morse"]
    zeros = {path: type(pair)(pair.a, torch.zeros_like(pair.b)) for path, pair in blank.factors.items()}
    known = {**experts, "blank": type(blank)("blank", blank.base_model, zeros, blank.card)}
    model = load_model(base, known, router="calibrated", generic=GENERIC, top_k=6, temperature=100.0)
    averages = {path: torch.full((1, 6), 3.0) for path in model.stack.layers}
    indices, weights = model.decider.router.choose(averages)
    others = torch.log(weights / weights[0, indices[0] == 5])  # scores, less that of the blank one
    assert torch.isfinite(others).all() and (others.abs() > 1e-3).sum() == 5
