import pytest
import torch

from lorary.assembly import calibrations, load_model
from lorary.assembly.calibrations import Calibrations
from lorary.assembly.generic_statistics import measure_inputs, measure_log_lengths
from lorary.assembly.generic_text import GenericText
from lorary.library import Library
from lorary.routing import CalibratedConfig, whiten_prototypes
from lorary.transforms import library_prototypes

GENERIC = ("Some text of no task.", "And another one, 1 2 3.")
WHITENED = CalibratedConfig(generic=GENERIC)
ENERGY = CalibratedConfig(generic=GENERIC, score="energy")


@pytest.fixture
def readings(monkeypatch):
    """Names of the layers, or of the experts, for each time that generic text was read."""
    calls = []

    def inputs(stack, paths, sequences):
        calls.append("inputs")
        return measure_inputs(stack, paths, sequences)

    def lengths(stack, experts, sequences):
        calls.append(sorted(experts))
        return measure_log_lengths(stack, experts, sequences)

    monkeypatch.setattr(calibrations, "measure_inputs", inputs)
    monkeypatch.setattr(calibrations, "measure_log_lengths", lengths)
    return calls


def test_directions_are_whitened_prototypes(model, experts):
    found = Calibrations(model.base, experts).find(WHITENED, model.stack, model.names)
    sequences = GenericText(model.base, model.stack, GENERIC).sequences()
    prototypes = library_prototypes(experts)
    for path, moments in measure_inputs(model.stack, list(model.stack.layers), sequences):
        directions, offsets = whiten_prototypes(prototypes[path][0], *moments, WHITENED.ridge)
        torch.testing.assert_close(found["directions"][path], directions)
        torch.testing.assert_close(found["offsets"][path], offsets)
        has = [path in expert.factors for expert in experts.values()]
        assert directions.any(1).tolist() == has


def test_energies_are_those_on_generic_text(model, experts):
    found = Calibrations(model.base, experts).find(ENERGY, model.stack, model.names)
    sequences = GenericText(model.base, model.stack, GENERIC).sequences()
    for path, lengths in measure_log_lengths(model.stack, experts, sequences).items():
        has = torch.tensor([path in expert.factors for expert in experts.values()])
        torch.testing.assert_close(found["log_lengths"][path], torch.where(has, lengths, 0.0))


def test_each_is_found_once_and_then_kept(build_tiny_base, experts, readings):
    for _ in range(2):
        model = load_model(build_tiny_base(), experts, router="calibrated", generic=GENERIC)
        model.set_router("calibrated", CalibratedConfig(generic=GENERIC, top_k=3))
        model.set_router("calibrated", ENERGY)
    assert readings == ["inputs", sorted(experts)]
    model.set_router("calibrated", CalibratedConfig(generic=GENERIC, ridge=0.2))
    model.set_router("calibrated", CalibratedConfig(generic=GENERIC[:1]))
    assert readings[2:] == ["inputs", "inputs"]


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
    assert readings == ["inputs"]
    assert list(cache.rglob("*.safetensors")) == []


def test_only_a_new_expert_is_calibrated(base, experts, draw_expert, readings):
    model = load_model(base, experts, router="calibrated", generic=GENERIC, score="energy")
    model.add_expert(draw_expert(base, "late"))
    model.remove_expert("dates")
    assert readings == [sorted(experts), ["late"]]
    assert len(model.decider.router.generic[next(iter(model.stack.layers))]) == 5


def test_an_expert_may_come_back_with_other_weights(base, build_tiny_base, experts, draw_expert, readings):
    model = load_model(base, experts, router="calibrated", generic=GENERIC, score="energy")
    model.remove_expert("morse")
    model.add_expert(draw_expert(base, "morse", rank=3, seed=99))
    assert readings[1:] == [["morse"]]


def test_an_untrained_expert_changes_no_layer_and_scores_nothing(base, experts):
    blank = experts["morse"]
    zeros = {path: type(pair)(pair.a, torch.zeros_like(pair.b)) for path, pair in blank.factors.items()}
    known = {**experts, "blank": type(blank)("blank", blank.base_model, zeros, blank.card)}
    for score in ("whitened", "energy"):
        model = load_model(base, known, router="calibrated", generic=GENERIC, score=score, top_k=6)
        averages = {
            path: torch.full((1, layer.a.shape[2] if score == "whitened" else 6), 3.0)
            for path, layer in model.stack.layers.items()
        }
        indices, weights = model.decider.router.choose(averages)
        others = torch.log(weights / weights[0, indices[0] == 5])  # scores, less that of the blank one
        assert torch.isfinite(others).all() and (others.abs() > 1e-3).sum() == 5
        model.detach()
