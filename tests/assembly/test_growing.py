"""Experts that come to a running model, and leave it."""

import pytest
import torch

from lorary.assembly import load_model
from lorary.errors import FormatError, IncompatibleExpert, LibraryError, UnknownExpert
from lorary.experts import Expert, Factors
from lorary.facts import list_task_facts, prototypes
from lorary.library import Library
from lorary.models.expert_linear import ExpertLinear
from lorary.routing import ROUTERS, ArrowConfig, CalibratedConfig, FixedConfig, SingleConfig
from lorary.transforms.prototypes import library_prototypes

OPTIONS = {
    "fixed": {"weights": {"morse": 0.7, "dates": 0.3}},
    "single": {"expert": "morse"},
    "calibrated": {"generic": ("Some text of no task.", "And another."), "top_k": 2},
}
# Without "moe", which has to be trained: see test_moe.py.
READY = [name for name in ROUTERS if name != "moe" and not list_task_facts([name])]


@pytest.fixture
def late(base, draw_expert):
    """An expert of a larger rank than the others."""
    return draw_expert(base, "late", rank=6)


@pytest.fixture
def computed(monkeypatch):
    """Names of the experts whose prototypes were computed, a list per call."""
    calls = []

    def count(experts, names=None):
        calls.append(list(experts if names is None else names))
        return library_prototypes(experts, names)

    monkeypatch.setattr(prototypes, "library_prototypes", count)
    return calls


@torch.no_grad()
def answer(model, input_ids):
    return model(input_ids=input_ids).logits


@pytest.mark.parametrize("tie_inputs", [False, True])
@pytest.mark.parametrize("router", READY)
def test_a_model_that_grew_answers_as_one_loaded_with_all(
    base, build_tiny_base, experts, late, input_ids, router, tie_inputs
):
    options = dict(OPTIONS.get(router, {}))
    if router == "arrow":
        options["tie_inputs"] = tie_inputs
    whole = load_model(build_tiny_base(), {**experts, "late": late}, router=router, **options)
    model = load_model(base, experts, router=router, **options)
    model.add_expert(late)
    assert model.names == whole.names
    torch.testing.assert_close(answer(model, input_ids), answer(whole, input_ids))


@pytest.mark.parametrize("router", READY)
def test_a_model_that_shrank_answers_as_one_loaded_with_the_rest(
    base, build_tiny_base, experts, input_ids, router
):
    options = OPTIONS.get(router, {})
    rest = {name: expert for name, expert in experts.items() if name != "prices"}
    expected = load_model(build_tiny_base(), rest, router=router, **options)
    model = load_model(base, experts, router=router, **options)
    model.remove_expert("prices")
    assert model.names == tuple(rest)
    torch.testing.assert_close(answer(model, input_ids), answer(expected, input_ids))


def test_a_new_expert_may_bring_layers(base, build_tiny_base, draw_expert, input_ids):
    few = {name: draw_expert(base, name, targets=["q_proj", "down_proj"]) for name in ("dates", "morse")}
    wide = draw_expert(base, "wide")
    for options in (ArrowConfig(), ArrowConfig(tie_inputs=True)):
        whole = load_model(build_tiny_base(), {**few, "wide": wide}, router=None)
        whole.set_router("arrow", options)
        model = load_model(build_tiny_base(), few, router=None)
        model.set_router("arrow", options)
        model.add_expert(wide)
        torch.testing.assert_close(answer(model, input_ids), answer(whole, input_ids))


def test_controls_stay_behind_the_experts(base, build_tiny_base, experts, late, draw_expert, input_ids):
    control = {"random": draw_expert(base, "random", rank=7)}
    model = load_model(base, experts, router="arrow", controls=control)
    model.add_expert(late)
    assert (model.names[-1], model.controls) == ("late", ("random",))
    expected = load_model(build_tiny_base(), {**experts, "late": late}, router="arrow", controls=control)
    torch.testing.assert_close(answer(model, input_ids), answer(expected, input_ids))
    with model.assign(["random", "late"]), expected.assign(["random", "late"]):
        torch.testing.assert_close(answer(model, input_ids), answer(expected, input_ids))


def test_only_the_new_experts_prototypes_are_computed(tmp_path, build_tiny_base, experts, late, computed):
    library = Library.open(str(tmp_path / "lib"), create=True)
    for expert in experts.values():
        library.add(expert)
    model = load_model(build_tiny_base(), library, router="arrow")
    assert computed == [sorted(experts)]
    model.add_expert(late)
    assert computed[1:] == [["late"]]
    model.remove_expert("dates")
    model.set_router("arrow")
    assert computed[2:] == []


def test_prototypes_not_asked_for_so_far_are_computed_later(base, build_tiny_base, experts, late, computed):
    model = load_model(base, experts, router="uniform")
    model.add_expert(late)
    model.remove_expert("dates")
    assert computed == []
    rest = {name: expert for name, expert in experts.items() if name != "dates"}
    expected = load_model(build_tiny_base(), {**rest, "late": late}, router="arrow").facts.find("prototypes")
    for name, rows in model.facts.find("prototypes").items():
        for path, found in rows.items():
            torch.testing.assert_close(found, expected[name][path])


def test_an_expert_may_come_back_with_other_weights(base, build_tiny_base, experts, draw_expert, input_ids):
    other = draw_expert(base, "morse", rank=3, seed=99)
    model = load_model(base, experts, router="arrow")
    model.remove_expert("morse")
    model.add_expert(other)
    rest = {name: expert for name, expert in experts.items() if name != "morse"}
    expected = load_model(build_tiny_base(), {**rest, "morse": other}, router="arrow")
    torch.testing.assert_close(answer(model, input_ids), answer(expected, input_ids))


def test_the_router_and_its_options_stay(base, experts, late):
    options = ArrowConfig(top_k=2, temperature=0.3, input_norm="rms")
    model = load_model(base, experts, router=None)
    model.set_router("arrow", options, combine="factors")
    model.add_expert(late)
    model.remove_expert("dates")
    assert {(layer.router.top_k, layer.router.temperature) for layer in model.stack.layers.values()} == {
        (2, 0.3)
    }
    assert model.routing[2] == "factors"


def test_as_many_experts_are_kept_as_the_default_allows(base, experts, late):
    model = load_model(base, {name: experts[name] for name in ("dates", "morse")}, router="arrow")
    model.add_expert(late)
    assert {layer.router.top_k for layer in model.stack.layers.values()} == {3}


def test_without_a_router_the_base_still_answers_alone(base, experts, late, input_ids):
    model = load_model(base, experts, router=None)
    before = answer(model, input_ids)
    model.add_expert(late)
    assert torch.equal(answer(model, input_ids), before)
    assert not any(isinstance(module, ExpertLinear) for module in model.detach().model.modules())


def test_means_are_kept_for_those_that_stay(late, model):
    def draw(count):
        return {path: torch.randn(count, layer.a.shape[2]) for path, layer in model.stack.layers.items()}

    first, second = draw(5), draw(1)
    model.provide(means=first)
    model.set_router("mean_activation")
    with pytest.raises(ValueError, match="needs the means of every expert, found none for 'late'"):
        model.add_expert(late)
    assert "late" not in model.names
    model.set_router(None)
    model.add_expert(late)
    model.provide(means=second, names=["late"])
    model.remove_expert("dates")
    model.set_router("mean_activation")
    path, layer = next(iter(model.stack.layers.items()))
    expected = torch.nn.functional.normalize(torch.cat([first[path][1:], second[path]]), dim=-1)
    torch.testing.assert_close(layer.router.means, expected)


def test_a_removal_that_the_router_cannot_follow_is_refused(model):
    for router, options, message in [
        ("arrow", ArrowConfig(top_k=5), "number of experts, 4, found 5"),
        ("fixed", FixedConfig(weights={"dates": 1.0}), "no expert 'dates'"),
        ("single", SingleConfig(expert="dates"), "no expert 'dates'"),
    ]:
        model.set_router(router, options)
        with pytest.raises((ValueError, UnknownExpert), match=message):
            model.remove_expert("dates")
        assert "dates" in model.names


def test_an_expert_with_broken_weights_leaves_the_model_as_it_was(late, model, input_ids):
    before = answer(model, input_ids)
    path, pair = next(iter(late.factors.items()))
    broken = Expert(
        "broken", late.base_model, {path: Factors(pair.a, torch.full_like(pair.b, torch.inf))}, late.card
    )
    with pytest.raises(FormatError, match="'broken'"):
        model.add_expert(broken)
    assert "broken" not in model.names
    torch.testing.assert_close(answer(model, input_ids), before)


def test_an_expert_of_another_base_or_a_taken_name_is_refused(model, build_tiny_base, draw_expert, experts):
    with pytest.raises(IncompatibleExpert, match="expert 'stranger' was trained on 'tiny-1'"):
        model.add_expert(draw_expert(build_tiny_base(seed=1), "stranger"))
    with pytest.raises(IncompatibleExpert, match="must be new on this model, but 'morse' is taken"):
        model.add_expert(experts["morse"])


def test_an_unknown_or_the_last_expert_cannot_be_removed(base, experts):
    model = load_model(base, {"dates": experts["dates"]}, router="arrow")
    with pytest.raises(UnknownExpert, match="'date': did you mean 'dates'"):
        model.remove_expert("date")
    with pytest.raises(ValueError, match=r"'dates' is the last one: use detach\(\)"):
        model.remove_expert("dates")


def test_within_contexts_nothing_is_added_or_removed(late, model):
    with model.routed("uniform"), pytest.raises(ValueError, match=r"leave the contexts .* add an expert"):
        model.add_expert(late)
    with model.assign(["dates"]), pytest.raises(ValueError, match="before you remove an expert"):
        model.remove_expert("dates")
    model.add_expert(late)
    assert model.names[-1] == "late"


@pytest.mark.parametrize("first", ["uniform", "arrow", None])
def test_an_expert_replaced_in_the_library_is_not_taken_for_the_one_on_the_model(
    tmp_path, build_tiny_base, experts, late, first
):
    """Guards a harm: the facts of the new expert routed to the old one."""
    library = Library.open(str(tmp_path / "lib"), create=True)
    for expert in experts.values():
        library.add(expert)
    model = load_model(build_tiny_base(), library, router=first)
    library["dates"] = late
    with pytest.raises(LibraryError, match="expert 'dates' in the library is not the one"):
        model.set_router("calibrated", CalibratedConfig(generic=("some words", "other words")))


@pytest.mark.parametrize("router", ["single", "calibrated"])
def test_a_router_that_was_built_before_a_change_of_the_experts_is_refused(model, late, input_ids, router):
    """Regression: after an expert was removed, such a router silently used the neighbours of its experts."""
    built = model.router(router, **OPTIONS[router])
    answer = model(input_ids=input_ids, experts=built).logits
    model.remove_expert("dates")
    with pytest.raises(ValueError, match=rf"router '{router}' was built for other experts .* build it again"):
        model(input_ids=input_ids, experts=built)
    if router == "single":
        again = model.router(router, **OPTIONS[router])
        torch.testing.assert_close(model(input_ids=input_ids, experts=again).logits, answer)
    model.add_expert(late)
    with pytest.raises(ValueError, match="built for other experts"):
        model.generate("ab", experts=[built])


def test_a_name_is_no_expert(model):
    with pytest.raises(TypeError, match=r"takes an Expert, found 'morse': read it by library\[NAME\]"):
        model.add_expert("morse")
