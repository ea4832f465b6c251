"""Every router that decides per token on a whole model."""

import pytest
import torch

from lorary.assembly import load_model
from lorary.errors import UnknownExpert
from lorary.facts import FACTS
from lorary.routing import FixedConfig, PhatgooseConfig, SpectrConfig, configure_router
from lorary.routing.configs.moe_form import MoeForm
from lorary.routing.material import LayerMaterial
from lorary.routing.moe.packed import TrainedRouter
from lorary.routing.named import TOKEN_ROUTERS, list_options

GENERIC = ("Some text of no task.", "And another one, 1 2 3.", "x = y + z; print(x)")
OPTIONS = {
    "fixed": {"weights": {"morse": 0.7, "dates": 0.3}},
    "single": {"expert": "prices"},
    "seqr": {"generic": GENERIC},
}


@pytest.fixture
def given(model):
    """Means and gates for all experts of the model."""
    generator = torch.Generator().manual_seed(8)

    def draw():
        return {
            path: torch.randn(len(model.names), layer.a.shape[2], generator=generator)
            for path, layer in model.stack.layers.items()
        }

    form = MoeForm(experts=model.names)
    rows = {path: own.flatten() * 3 for path, own in draw().items()}
    return {"means": draw(), "gates": draw(), "moe": TrainedRouter(form, rows).pack()}


@pytest.fixture
def ready(model, given):
    model.provide(**given)
    return model


class NaiveLinear(torch.nn.Module):
    """A layer that answers with dense weight changes, weighed as a layer router says, one token at a time."""

    def __init__(self, layer):
        super().__init__()
        self.base, self.router = layer.base, layer.router
        self.changes = [b.double() @ a.double() for a, b in zip(layer.a, layer.b, strict=True)]

    def forward(self, x):
        indices, weights = self.router(x.reshape(-1, x.shape[-1]))
        tokens = x.reshape(-1, x.shape[-1]).double()
        rows = [
            sum(w * (self.changes[e] @ token) for e, w in zip(own, shares, strict=True))
            for token, own, shares in zip(tokens, indices.tolist(), weights.tolist(), strict=True)
        ]
        return self.base(x) + torch.stack(rows).to(x.dtype).view(*x.shape[:-1], -1)


@pytest.mark.parametrize("name", TOKEN_ROUTERS)
def test_a_routed_model_answers_as_dense_experts_weighed_by_its_routers(ready, input_ids, name):
    ready.set_router(name, configure_router(name, OPTIONS.get(name, {})))
    with torch.no_grad():
        found = ready(input_ids=input_ids).logits
        for path, layer in ready.stack.layers.items():
            ready.model.set_submodule(path, NaiveLinear(layer))
        torch.testing.assert_close(ready(input_ids=input_ids).logits, found, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", TOKEN_ROUTERS)
def test_a_router_gets_the_material_of_its_own_layer(ready, given, name):
    config = configure_router(name, OPTIONS.get(name, {}))
    ready.set_router(name, config)
    for path, layer in ready.stack.layers.items():
        known = {"a": layer.a, "b": layer.b, "means": given["means"][path], "gates": given["gates"][path]}
        needed = {"prototypes": {}, "moe": {}, **{fact: own for fact, own in config.needs.items() if own}}
        for fact, own in needed.items():
            known |= {tensor: rows[path] for tensor, rows in ready.facts.find(fact, own).items()}
        kind = TOKEN_ROUTERS[name]
        material = LayerMaterial(
            num_experts=5,
            names=ready.names,
            tensors={tensor: known[tensor] for fact in config.needs for tensor in FACTS[fact].shapes},
            shapes={tensor: own for fact in config.needs for tensor, own in FACTS[fact].shapes.items()},
        )
        x = torch.randn(4, layer.a.shape[2], generator=torch.Generator().manual_seed(1))
        for found, expected in zip(layer.router(x), kind.build(config, material)(x), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", TOKEN_ROUTERS)
def test_load_model_takes_every_router_with_its_options(
    build_tiny_base, experts, given, ready, name, input_ids
):
    options = dict(OPTIONS.get(name, {}))
    for option, value in {"top_k": 2, "temperature": 0.5, "abstain": 0.1}.items():
        if option in list_options(name):
            options[option] = value
    model = load_model(build_tiny_base(), experts, router=name, combine="outputs", **given, **options)
    ready.set_router(name, configure_router(name, options))
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=input_ids).logits, ready(input_ids=input_ids).logits)
    assert isinstance(model.generate("a", max_new_tokens=2), str)


def test_spectr_reads_the_factors_where_they_are(ready):
    ready.set_router("spectr")
    for layer in ready.stack.layers.values():
        assert layer.router.a.data_ptr() == layer.a.data_ptr()


def test_controls_are_no_experts_to_any_router(build_tiny_base, experts, draw_expert, given, input_ids):
    control = {"random": draw_expert(build_tiny_base(), "random", rank=6)}
    model = load_model(build_tiny_base(), experts, router=None, controls=control, **given)
    plain = load_model(build_tiny_base(), experts, router=None, **given)
    for name in TOKEN_ROUTERS:
        config = configure_router(name, OPTIONS.get(name, {}))
        with torch.no_grad(), model.routed(name, config), plain.routed(name, config):
            expected = plain(input_ids=input_ids).logits
            torch.testing.assert_close(model(input_ids=input_ids).logits, expected)


def test_tied_layers_choose_alike(ready, input_ids):
    ready.set_router("arrow", configure_router("arrow", {"tie_inputs": True, "top_k": 2}))
    found = ready.explain(input_ids[0].tolist())
    q, k, v, o = (
        found.weights[found.layers.index(f"model.layers.0.self_attn.{letter}_proj")] for letter in "qkvo"
    )
    assert torch.equal(q, k) and torch.equal(q, v)
    assert not torch.equal(q, o)


def test_an_abstaining_router_leaves_the_rest_to_the_base(ready, input_ids):
    with torch.no_grad():
        with ready.routed(None):
            bare = ready(input_ids=input_ids).logits
        with ready.routed("arrow", configure_router("arrow", {"abstain": 1e6})):
            torch.testing.assert_close(ready(input_ids=input_ids).logits, bare)
        with ready.routed("arrow", configure_router("arrow", {"abstain": 0.5})):
            shares = ready.explain(input_ids[0].tolist()).weights.sum(-1)
    assert ((shares > 0) & (shares < 1)).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "phatgoose",
            "needs the gates of every expert, found none for 'dates' and 4 more: compute them with ",
        ),
        (
            "mean_activation",
            "needs the means of every expert, found none for 'dates' and 4 more: compute them with ",
        ),
    ],
)
def test_a_router_without_what_only_data_can_tell_is_refused(base, experts, name, message):
    with pytest.raises(ValueError, match=message):
        load_model(base, experts, router=name)
    model = load_model(base, experts, router="arrow")
    before = {path: layer.router for path, layer in model.stack.layers.items()}
    with pytest.raises(ValueError, match=message):
        model.set_router(name)
    assert {path: layer.router for path, layer in model.stack.layers.items()} == before


def test_what_is_given_must_fit_the_model(model, given):
    path = next(iter(given["means"]))
    with pytest.raises(ValueError, match=r"means of '.*' must be \[5, 16\], one row for each .*\[4, 16\]"):
        model.provide(means={path: given["means"][path][:4]})
    with pytest.raises(ValueError, match="gates must be for layers with experts, but 'nowhere' is not"):
        model.provide(gates={"nowhere": torch.ones(5, 16)})


def test_an_invalid_fact_leaves_the_others_as_they_were(model, given):
    """Regression: facts before the invalid one in the mapping had been taken already."""
    wrong = {path: rows * float("nan") for path, rows in given["gates"].items()}
    with pytest.raises(ValueError, match=r"gates of .* must be finite"):
        model.provide(means=given["means"], gates=wrong)
    with pytest.raises(ValueError, match="needs the means of every expert"):
        model.set_router("mean_activation")
    with pytest.raises(ValueError, match="embeddings of expert 'dates' must be a tensor, found list"):
        model.provide(embeddings={"dates": [[1.0, 2.0]]})


def test_a_layer_without_rows_is_refused_by_name(model, given):
    """Its rows were zeros silently."""
    first, *rest = given["means"]
    with pytest.raises(ValueError, match=rf"means must have rows .* 1 layer: '{first}'\."):
        model.provide(means={path: given["means"][path] for path in rest})
    with pytest.raises(ValueError, match=rf"for {len(rest)} layers: '.*', …\. Compute them on this model"):
        model.provide(gates={first: given["gates"][first]}, names=list(model.names))


def test_a_layer_that_only_a_control_changes_needs_no_rows(base, draw_expert):
    experts = {name: draw_expert(base, name, targets=["q_proj"]) for name in ("dates", "morse")}
    controls = {"everywhere": draw_expert(base, "everywhere")}
    means = {path: torch.randn(2, 16) for path in experts["dates"].factors}
    model = load_model(base, experts, router="mean_activation", means=means, controls=controls)
    assert set(model.stack.layers) > set(means)


def test_options_of_another_router_are_refused(model):
    with pytest.raises(ValueError, match="router 'arrow' takes options of ArrowConfig, found SpectrConfig"):
        model.set_router("arrow", SpectrConfig())


def test_options_that_do_not_suit_the_experts_are_refused(model):
    with pytest.raises(UnknownExpert, match="no expert 'mors'"):
        model.set_router("fixed", FixedConfig(weights={"mors": 1.0}))
    with pytest.raises(ValueError, match="the number of experts, 5, found 6"):
        model.set_router("phatgoose", PhatgooseConfig(top_k=6))
