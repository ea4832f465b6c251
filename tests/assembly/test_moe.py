"""A trained mixture of experts on a model: given, stored in a library, saved, with other experts later."""

from dataclasses import replace

import pytest
import torch

from lorary.assembly import load_model, save_model
from lorary.errors import FormatError, UnknownExpert
from lorary.facts.moe import list_routers, store_router
from lorary.library import Library
from lorary.models import load_base
from lorary.routing import MoeRouterConfig
from lorary.routing.configs.moe_form import MoeForm, choose_grid
from lorary.routing.moe.packed import TrainedRouter, unpack_router


@pytest.fixture
def base(build_tiny_base, tmp_path):
    """A tiny base model that can be loaded again by its name."""
    folder = tmp_path / "bases" / "tiny"
    built = build_tiny_base()
    built.model.save_pretrained(folder)
    built.tokenizer.save_pretrained(folder)
    return load_base(str(folder), dtype=torch.float32)


@pytest.fixture
def late(draw_expert, base):
    return draw_expert(base, "late", rank=3)


@pytest.fixture
def library(tmp_path, experts):
    library = Library.open(str(tmp_path / "lib"), create=True)
    for expert in experts.values():
        library.add(expert)
    return library


@pytest.fixture
def make_router(model):
    """Make a router of some experts on the model, of random numbers."""

    def make(names=None, seed=1, **changes):
        form = MoeForm(experts=tuple(model.names if names is None else names), **changes)
        generator = torch.Generator().manual_seed(seed)
        return TrainedRouter(
            form,
            {
                path: 3 * torch.randn(form.count(layer.a.shape[2]), generator=generator)
                for path, layer in model.stack.layers.items()
            },
        )

    return make


@pytest.fixture
def keys(make_router, model):
    return make_router(
        kind="product_keys",
        query_size=4,
        num_columns=choose_grid(5)[1],
        num_cells=5,
        cells=tuple(range(5)),
    )


@torch.no_grad()
def answer(model, input_ids):
    return model(input_ids=input_ids).logits


def test_a_router_routes_among_its_own_experts_only(model, make_router, input_ids):
    """An expert that the router was not trained with is never chosen."""
    model.provide(moe=make_router(("morse", "dates", "prices")).pack())
    model.set_router("moe")
    found = model.explain("morse: ...")
    assert not found.weights[..., model.names.index("plurals")].any()
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(found.weights.shape[:-1]))


def test_top_k_can_be_chosen_when_it_is_used(model, make_router):
    model.provide(moe=make_router().pack())
    model.set_router("moe", MoeRouterConfig(top_k=1))
    assert ((model.explain("morse").weights > 0).sum(-1) == 1).all()
    with pytest.raises(ValueError, match="top_k must be between 1 and the number of experts, 5, found 6"):
        model.set_router("moe", MoeRouterConfig(top_k=6))


def test_a_new_expert_gets_a_row_and_all_other_scores_stay(late, model, make_router, input_ids):
    router = make_router()
    model.provide(moe=router.pack())
    model.set_router("moe")
    before = unpack_router({key: model.facts.list_given(())[f"moe/{key}"] for key in router.pack()})
    model.add_expert(late)
    after = unpack_router({key: model.facts.list_given(())[f"moe/{key}"] for key in router.pack()})
    assert after.form.experts == (*before.form.experts, "late")
    prototypes = model.facts.find("prototypes")["prototypes"]
    for path, joined in before.layers.items():
        width = len(joined) // 5
        rows = after.layers[path].view(6, width)
        assert torch.equal(rows[:5], joined.view(5, width))
        cosine = torch.nn.functional.cosine_similarity(rows[5], prototypes[path][5], dim=0)
        assert abs(float(cosine)) == pytest.approx(1, abs=1e-4)
    assert answer(model, input_ids).isfinite().all()
    model.remove_expert("late")
    again = unpack_router({key: model.facts.list_given(())[f"moe/{key}"] for key in router.pack()})
    assert again.form == router.form
    assert all(torch.equal(again.layers[path], own) for path, own in router.layers.items())


def test_a_router_without_a_row_for_it_refuses_a_new_expert(late, model, keys, input_ids):
    model.provide(moe=keys.pack())
    model.set_router("moe")
    before = answer(model, input_ids)
    with pytest.raises(ValueError, match="expert 'late' cannot be added to the trained router: with product"):
        model.add_expert(late)
    assert "late" not in model.names
    assert torch.equal(answer(model, input_ids), before)
    model.set_router("arrow")
    model.add_expert(late)  # which other routers may choose
    with pytest.raises(ValueError, match="expert 'late' cannot be added"):
        model.set_router("moe")


def test_experts_that_a_router_needs_cannot_be_removed(model, make_router):
    model.provide(moe=make_router(("morse", "dates")).pack())
    model.set_router("moe")
    model.remove_expert("prices")
    with pytest.raises(ValueError, match=r"the trained router is invalid without 'morse'|\['morse'\]"):
        model.remove_expert("morse")


@pytest.mark.parametrize("kind", ["linear", "keys"])
def test_a_saved_model_routes_as_before(model, make_router, keys, tmp_path, input_ids, kind):
    router = make_router(shared=(), weighting="all") if kind == "linear" else keys
    model.provide(moe=router.pack())
    model.set_router("moe", MoeRouterConfig(top_k=3))
    expected = answer(model, input_ids)
    save_model(model, tmp_path / "saved")
    model.detach()
    loaded = load_model(str(tmp_path / "saved"))
    assert loaded.routing[0] == "moe"
    torch.testing.assert_close(answer(loaded, input_ids), expected, rtol=1e-4, atol=1e-4)


def test_a_damaged_router_of_a_saved_model_is_refused(model, make_router, tmp_path):
    model.provide(moe=make_router().pack())
    model.set_router("moe")
    save_model(model, tmp_path / "saved")
    model.detach()
    file = tmp_path / "saved" / "material.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(FormatError, match=r"material\.safetensors"):
        load_model(str(tmp_path / "saved"))


def test_a_stored_router_is_found_by_the_models_of_its_library(
    base, library, model, make_router, input_ids, tmp_path
):
    router = make_router()
    model.provide(moe=router.pack())
    model.set_router("moe")
    expected = answer(model, input_ids)
    model.detach()
    store_router(library, router, "moe", base.fingerprint)
    loaded = load_model(base, library, router="moe")
    torch.testing.assert_close(answer(loaded, input_ids), expected, rtol=1e-4, atol=1e-4)
    save_model(loaded, tmp_path / "saved")
    loaded.detach()
    again = load_model(str(tmp_path / "saved"))
    torch.testing.assert_close(answer(again, input_ids), expected, rtol=1e-4, atol=1e-4)


def test_renamed_and_further_experts_do_not_matter(late, base, library, model, make_router):
    store_router(library, make_router(("morse", "dates", "prices")), "moe", base.fingerprint)
    model.detach()
    library.rename("morse", "telegraph")
    library.add(late)
    loaded = load_model(base, library, router="moe")
    found = loaded.explain("morse: ...")
    used = found.weights.flatten(0, -2).amax(0) > 0
    names = {name for name, is_used in zip(found.experts, used.tolist(), strict=True) if is_used}
    assert names <= {"telegraph", "dates", "prices"} and "telegraph" in names


def test_experts_of_the_same_weights_have_a_row_each(base, library, experts, make_router):
    twins = Library.open(library.url)
    twins.add(experts["morse"].rename("a morse"))
    store_router(twins, make_router(("dates", "a morse", "morse")), "moe", base.fingerprint)
    (names,) = twins.artifacts.list_together("moe-router-1").values()
    assert names == ("dates", "a morse", "morse")
    del twins["a morse"]
    assert not twins.artifacts.list_together("moe-router-1")


def test_a_router_replaces_the_one_of_its_name_and_others_are_chosen_by_name(
    base, library, model, make_router
):
    store_router(library, make_router(), "moe", base.fingerprint)
    store_router(library, make_router(("morse", "dates")), "moe", base.fingerprint)
    assert list(list_routers(library, base.fingerprint).values()) == [("morse", "dates")]
    store_router(library, make_router(), "all", base.fingerprint)
    model.detach()
    with pytest.raises(ValueError, match=r"found \['all', 'moe'\]: name one with the option trained"):
        load_model(base, library, router="moe")
    loaded = load_model(base, library, router="moe", trained="moe")
    assert (loaded.explain("a").weights.sum((0, 1)) > 0).sum() == 2
    loaded.detach()
    with pytest.raises(ValueError, match="needs one named 'x' that was trained"):
        load_model(base, library, router="moe", trained="x")


def test_without_a_trained_router_the_message_says_how_to_get_one(base, library, experts, model):
    model.detach()
    for mapping in (library, experts):
        with pytest.raises(ValueError, match=r"train one with `lorary train LIBRARY .* --method moe`"):
            load_model(base, mapping, router="moe")
    store = Library.open(library.url)
    assert not list_routers(store, base.fingerprint)


def test_a_router_of_replaced_experts_or_another_base_is_not_found(late, base, library, model, make_router):
    store_router(library, make_router(), "moe", "f" * 24)
    store_router(library, make_router(("morse", "dates")), "moe", base.fingerprint)
    library["morse"] = replace(late, name="morse")
    model.detach()
    with pytest.raises(ValueError, match="found none"):
        load_model(base, library, router="moe")
    pruned = library.prune()
    assert pruned.num_removed >= 1


@pytest.mark.parametrize("fault", ["unknown", "layers", "width", "text"])
def test_a_given_router_that_does_not_fit_is_refused(model, make_router, fault):
    router = make_router()
    packed = router.pack()
    if fault == "unknown":
        packed = router.rename(model.names, ["x", *model.names[1:]]).pack()
    if fault == "layers":
        packed = TrainedRouter(router.form, {f"other.{p}": own for p, own in router.layers.items()}).pack()
    if fault == "width":
        packed = TrainedRouter(router.form, {p: own[:-5] for p, own in router.layers.items()}).pack()
    if fault == "text":
        packed = {"form": torch.zeros(2)}
    messages = {
        "unknown": "'x'",
        "layers": "must be for layers with experts",
        "width": "parameters, found",
        "text": "a trained router must have form, layout and parameters",
    }
    with pytest.raises((ValueError, UnknownExpert), match=messages[fault]):
        model.provide(moe=packed)
    assert not model.facts.list_given(())


def test_experts_on_other_layers_leave_the_router_alone(base, draw_expert, input_ids):
    """A layer that only a later expert changes has rows of zeros for the others."""
    narrow = {name: draw_expert(base, name, targets=["q_proj"]) for name in ("narrow", "other")}
    wide = draw_expert(base, "wide")
    small = load_model(base, narrow, router=None)
    form = MoeForm(experts=("narrow", "other"))
    rows = {path: torch.ones(form.count(layer.a.shape[2])) for path, layer in small.stack.layers.items()}
    small.provide(moe=TrainedRouter(form, rows).pack())
    small.set_router("moe")
    small.add_expert(wide)
    assert answer(small, input_ids).isfinite().all()
    assert small.stack.layers.keys() > rows.keys()
