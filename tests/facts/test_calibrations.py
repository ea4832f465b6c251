import pytest
import torch

from lorary.assembly import load_model
from lorary.facts import calibrations
from lorary.facts.generic_text import GenericRequests
from lorary.facts.known import Facts
from lorary.library import Library
from lorary.routing import CalibratedConfig
from tests.facts.naive_calibration import calibrate_naively

GENERIC = ("Some text of no task.", "And another one, 1 2 3.")
CONFIG = CalibratedConfig(generic=GENERIC)


@pytest.fixture
def calibrated(monkeypatch):
    """How many experts were calibrated, each time."""
    calls = []
    pack = calibrations._pack

    def note(found, ranks):
        calls.append(len(ranks))
        return pack(found, ranks)

    monkeypatch.setattr(calibrations, "_pack", note)
    return calls


def test_the_steps_are_told_once_until_the_last(model, experts):
    events = []
    facts = Facts(model.base, model.stack, experts, lambda *event: events.append(event))
    for _ in range(2):
        facts.find("calibrations", CONFIG.needs["calibrations"])
    assert {what for what, _, _ in events} == {
        f"calibrating {len(experts)} experts on generic requests, once: the result is stored"
    }
    steps = [done for _, done, _ in events]
    assert steps[0] == 0 and steps == sorted(steps) and events[-1][1] == events[-1][2] == 2 * 4 * 2
    events.clear()
    other = CalibratedConfig(generic=GENERIC, ridge=0.5)
    facts.find("calibrations", other.needs["calibrations"])
    assert [done for _, done, _ in events] == [0, *range(1, 9)] and events[-1][2] == 8


def test_without_a_listener_the_work_is_in_the_log(model, experts, caplog):
    caplog.set_level("INFO", "lorary")
    Facts(model.base, model.stack, experts).find("calibrations", CONFIG.needs["calibrations"])
    assert [record.message[:11] for record in caplog.records] == ["calibrating"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_gets_a_line_where_the_log_is_not_shown(model, experts, capsys, monkeypatch, is_terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    Facts(model.base, model.stack, experts).find("calibrations", CONFIG.needs["calibrations"])
    told = "lorary: calibrating 5 experts on generic requests, once: the result is stored\n"
    assert capsys.readouterr().err == (told if is_terminal else "")


def test_each_expert_comes_out_as_by_hand(build_tiny_base, model, experts):
    found = Facts(model.base, model.stack, experts).find("calibrations", CONFIG.needs["calibrations"])
    bare = build_tiny_base().model
    seen = {path: [] for path in model.stack.layers}
    for path in seen:
        bare.get_submodule(path).register_forward_pre_hook(
            lambda _, given, path=path: seen[path].append(given[0][0, 1:])
        )
    with torch.no_grad():
        for ids in GenericRequests(model.base, model.stack, GENERIC).sequences():
            bare(input_ids=torch.tensor([ids]))
    for index, expert in enumerate(experts.values()):
        for path in model.stack.layers:
            mean, deviation = found["generic_means"][path][index], found["generic_deviations"][path][index]
            whitener, offset = found["whiteners"][path][index], found["offsets"][path][index]
            if path not in expert.factors:
                assert not whitener.any() and mean == 0
                continue
            a, b = expert.factors[path]
            expected = calibrate_naively(seen[path], a, b, ridge=0.01, last_share=CONFIG.last_share)
            rank = len(a)
            assert not whitener[rank:].any() and not offset[rank:].any()
            metric = (whitener @ whitener.T)[:rank, :rank].double()
            torch.testing.assert_close(metric, expected.metric, atol=1e-3, rtol=2e-3)
            torch.testing.assert_close(
                (whitener @ offset)[:rank].double(), expected.metric @ expected.mean, atol=2e-3, rtol=2e-3
            )
            # Inputs are rounded to float16; a token near the mean has a logarithm far below the others.
            torch.testing.assert_close(mean.double(), expected.level, atol=1e-2, rtol=1e-3)
            torch.testing.assert_close(deviation.double(), expected.deviation, atol=1e-2, rtol=1e-2)


def test_each_is_found_once_and_then_kept(build_tiny_base, experts, calibrated):
    for _ in range(2):
        model = load_model(build_tiny_base(), experts, router="calibrated", generic=GENERIC)
        model.set_router("calibrated", CalibratedConfig(generic=GENERIC, top_k=3))
    assert calibrated == [5]
    model.set_router("calibrated", CalibratedConfig(generic=GENERIC, ridge=0.2))
    model.set_router("calibrated", CalibratedConfig(generic=GENERIC, last_share=0.5))
    model.set_router("calibrated", CalibratedConfig(generic=GENERIC[::-1]))
    assert calibrated[1:] == [5, 5, 5]


def test_a_library_keeps_them_and_needs_no_text_again(tmp_path, build_tiny_base, experts, calibrated, cache):
    library = Library.open(str(tmp_path / "lib"), create=True)
    for expert in experts.values():
        library.add(expert)
    expected = load_model(build_tiny_base(), library, router="calibrated").explain("morse").weights
    assert {path.parent.name for path in cache.rglob("*.safetensors")} == {
        "generic-text-1",
        "generic-inputs-1",
    }
    for path in cache.rglob("*.safetensors"):
        path.unlink()
    model = load_model(build_tiny_base(), library, router="calibrated")
    assert torch.equal(model.explain("morse").weights, expected)
    assert calibrated == [5]
    assert list(cache.rglob("*.safetensors")) == []


def test_only_a_new_expert_is_calibrated(base, experts, draw_expert, calibrated):
    model = load_model(base, experts, router="calibrated", generic=GENERIC)
    model.add_expert(draw_expert(base, "late"))
    model.remove_expert("dates")
    assert calibrated == [5, 1]
    assert len(model.decider.router.whiteners[next(iter(model.stack.layers))]) == 5


def test_an_expert_may_come_back_with_other_weights(base, experts, draw_expert, calibrated):
    model = load_model(base, experts, router="calibrated", generic=GENERIC)
    model.remove_expert("morse")
    model.add_expert(draw_expert(base, "morse", rank=3, seed=99))
    assert calibrated[1:] == [1]


def test_an_untrained_expert_changes_no_layer_and_scores_nothing(base, experts):
    blank = experts["morse"]
    zeros = {path: type(pair)(pair.a, torch.zeros_like(pair.b)) for path, pair in blank.factors.items()}
    known = {**experts, "blank": type(blank)("blank", blank.base_model, zeros, blank.card)}
    model = load_model(base, known, router="calibrated", generic=GENERIC, top_k=6, temperature=100.0)
    averages = {path: torch.full((1, 6), 3.0) for path in model.stack.layers}
    indices, weights = model.decider.router.choose(averages)
    others = torch.log(weights / weights[0, indices[0] == 5])  # scores, less that of the blank one
    assert torch.isfinite(others).all() and (others.abs() > 1e-3).sum() == 5
