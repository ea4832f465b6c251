import pytest
import torch

from lorary.assembly import load_model
from lorary.errors import BaseModelError, IncompatibleExpert, LibraryError
from lorary.library import Library
from lorary.models.expert_linear import ExpertLinear
from lorary.routing import ArrowConfig

OPTIONS = [
    ArrowConfig(top_k=3),
    ArrowConfig(top_k=1),
    ArrowConfig(top_k=5, temperature=0.5, input_norm="rms"),
    ArrowConfig(top_k=2, temperature=2.0, input_norm="unit", weigh_by_gain=True),
]


@pytest.mark.parametrize("combine", ["outputs", "factors"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: f"top-{options.top_k}")
def test_logits_are_those_of_naive_arrow(
    build_tiny_base, experts, put_naive_experts, input_ids, options, combine
):
    naive = put_naive_experts(build_tiny_base(dtype=torch.float64).model, experts, options, combine)
    routed = load_model(
        build_tiny_base(dtype=torch.float64),
        experts,
        router="arrow",
        top_k=options.top_k,
        temperature=options.temperature,
        input_norm=options.input_norm,
        weigh_by_gain=options.weigh_by_gain,
        combine=combine,
    )
    with torch.no_grad():
        expected, found = naive(input_ids).logits, routed(input_ids=input_ids).logits
        bare = build_tiny_base(dtype=torch.float64).model(input_ids).logits
    assert (expected - bare).abs().max() > 0.1
    # The prototypes are float32.
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_library_routes_as_a_mapping_of_the_same_experts(build_tiny_base, experts, input_ids):
    library = Library.open("memory://assembly-load", create=True)
    for expert in experts.values():
        library.add(expert)
    ordered = {name: experts[name] for name in sorted(experts)}
    with torch.no_grad():
        kept = load_model(build_tiny_base(), "memory://assembly-load", router="arrow")(
            input_ids=input_ids
        ).logits
        given = load_model(build_tiny_base(), ordered, router="arrow")(input_ids=input_ids).logits
    torch.testing.assert_close(kept, given)


def test_without_a_router_the_base_answers_alone(base, experts, input_ids):
    with torch.no_grad():
        expected = base.model(input_ids).logits
        found = load_model(base, experts, router=None)(input_ids=input_ids).logits
    assert torch.equal(found, expected)


def test_fewer_experts_than_arrow_keeps_by_default_are_all_kept(base, experts):
    few = {name: experts[name] for name in ("dates", "morse")}
    model = load_model(base, few, router="arrow")
    assert {layer.router.top_k for layer in model.stack.layers.values()} == {2}


def test_a_model_that_is_loaded_already_brings_its_tokenizer(base, experts):
    model = load_model(base.model, experts, router="arrow", tokenizer=base.tokenizer)
    assert model.tokenizer is base.tokenizer
    assert model.names == tuple(experts)


def test_controls_are_never_routed_to(base, build_tiny_base, experts, draw_expert, input_ids):
    control = {"random": draw_expert(base, "random", rank=6)}
    for router in ("arrow", "uniform"):
        with torch.no_grad():
            expected = load_model(build_tiny_base(), experts, router=router)(input_ids=input_ids).logits
            model = load_model(build_tiny_base(), experts, router=router, controls=control)
            torch.testing.assert_close(model(input_ids=input_ids).logits, expected)
            with model.assign(["random", "random"]):
                assert not torch.allclose(model(input_ids=input_ids).logits, expected)
        assert model.names == tuple(experts)
        assert model.controls == ("random",)


def test_a_control_may_change_layers_that_no_expert_changes(base, build_tiny_base, draw_expert, input_ids):
    """Guards a bug: routers were missing on such layers, and the model was refused."""
    experts = {name: draw_expert(base, name, targets=["q_proj"]) for name in ("dates", "morse")}
    control = {"everywhere": draw_expert(base, "everywhere")}
    with torch.no_grad():
        expected = load_model(build_tiny_base(), experts, router="arrow")(input_ids=input_ids).logits
        found = load_model(build_tiny_base(), experts, router="arrow", controls=control)(
            input_ids=input_ids
        ).logits
    torch.testing.assert_close(found, expected)


def test_an_expert_for_another_base_is_refused(base, build_tiny_base, experts, draw_expert):
    stranger = draw_expert(build_tiny_base(seed=1), "stranger")
    with pytest.raises(IncompatibleExpert, match="expert 'stranger' was trained on 'tiny-1', this model is"):
        load_model(base, {**experts, "stranger": stranger})
    assert not any(isinstance(module, ExpertLinear) for module in base.model.modules())


@pytest.mark.parametrize("library", [{}, "memory://assembly-empty"], ids=["mapping", "library"])
def test_an_empty_library_is_refused(base, library):
    if isinstance(library, str):
        Library.open(library, create=True)
    with pytest.raises(LibraryError, match="has no experts: train some, or add one"):
        load_model(base, library)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"router": "arow"}, "no router is named 'arow': did you mean 'arrow'"),
        ({"top_k": 6}, "top_k must be between 1 and the number of experts, 5, found 6"),
        ({"top_k": 0}, "top_k must be at least 1, found 0"),
        ({"temperature": 0.0}, "temperature must be above 0, found 0.0"),
        ({"temperature": -1.0}, "temperature must be above 0, found -1.0"),
        ({"router": "arrow", "input_norm": "l2"}, "input_norm must be one of none, unit, rms, found 'l2'"),
        (
            {"router": "arrow", "topk": 2},
            "router 'arrow' has no option 'topk': did you mean 'top_k'. its options are top_k, ",
        ),
        ({"router": "uniform", "top_k": 2}, "router 'uniform' has no option 'top_k': it has none"),
        ({"router": None, "top_k": 2}, "options need a router, found none with top_k"),
        ({"router": "lag", "candidates": 6}, "candidates must be at most the number of experts, 5, found 6"),
        ({"router": "fixed"}, "pass weights={name: weight}"),
        ({"combine": "both"}, "combine must be one of .*, not 'both'"),
    ],
)
def test_bad_options_are_refused_before_the_base_is_loaded(experts, options, message):
    with pytest.raises(ValueError, match=message):
        load_model("there-is-no-such-model", experts, **options)


def test_a_control_with_an_experts_name_is_refused(base, experts):
    with pytest.raises(ValueError, match="'morse' is an expert too"):
        load_model(base, experts, controls={"morse": experts["morse"]})


def test_a_router_that_reads_text_asks_for_the_tokenizer_of_a_bare_model(base, experts):
    with pytest.raises(BaseModelError, match=r"tokenizer=AutoTokenizer.*read no text, such as 'arrow'"):
        load_model(base.model, experts)


@pytest.mark.parametrize("given", [{"device": "cpu"}, {"dtype": torch.float32}, {"revision": "v1"}])
def test_arguments_that_a_loaded_model_does_not_use_are_refused(base, experts, given):
    """Regression: they were ignored silently."""
    for loaded in (base, base.model):
        with pytest.raises(
            ValueError, match=f"{next(iter(given))} cannot be given for a model that is loaded"
        ):
            load_model(loaded, experts, **given)
    for place in (base, "some/base"):
        with pytest.raises(ValueError, match="tokenizer cannot be given"):
            load_model(place, experts, tokenizer=base.tokenizer)


def test_a_name_too_long_for_a_path_is_refused_as_a_base_model(experts):
    """Regression: the operating system's error came instead."""
    with pytest.raises(BaseModelError, match="no base model"):
        load_model("x" * 300, experts)
