import pytest
import torch

from lorary.errors import FormatError
from lorary.routing.configs.moe_form import MoeForm
from lorary.routing.moe.packed import TrainedRouter, unpack_router
from lorary.routing.moe.router import MoeRouter

WIDTHS = {"first": 8, "second": 5}
NAMES = ("a", "b", "c", "d", "e")
FORMS = {
    "linear": MoeForm(experts=NAMES),
    "gate": MoeForm(experts=NAMES[:4], shared=("e",), shared_gate=True),
    "groups": MoeForm(experts=NAMES, groups=(0, 1, 1, 0, 0), top_groups=2),
    "keys": MoeForm(
        experts=NAMES, kind="product_keys", query_size=4, num_columns=2, num_cells=5, cells=(0, 1, 2, 3, 4)
    ),
}


def make_router(form):
    generator = torch.Generator().manual_seed(2)
    return TrainedRouter(
        form, {path: torch.randn(form.count(width), generator=generator) for path, width in WIDTHS.items()}
    )


def route(router, path, names):
    """Weights of each expert for some tokens: the shares of a layer router, by name."""
    x = torch.randn(9, WIDTHS[path], generator=torch.Generator().manual_seed(6))
    indices, weights = MoeRouter(router.form, router.layers[path], names)(x)
    return dict(zip(names, torch.zeros(9, len(names)).scatter_add(1, indices, weights).T, strict=True))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_router_is_unpacked_as_it_was_packed(form):
    router = make_router(form)
    again = unpack_router(router.pack())
    assert again.form == form
    assert all(torch.equal(again.layers[path], own) for path, own in router.layers.items())


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_without_an_expert_that_a_token_did_not_choose_its_weights_stay(form):
    router = make_router(form)
    for path in WIDTHS:
        before = route(router, path, NAMES)
        after = route(router.leave_out(["c"]), path, ["a", "b", "d", "e"]) if form.groups is None else None
        if after is None:
            with pytest.raises(ValueError, match="in the smallest group, 1, found 2"):
                router.leave_out(["c"])
            continue
        untouched = before["c"] == 0
        assert untouched.any()
        for name, own in after.items():
            torch.testing.assert_close(own[untouched], before[name][untouched])


def test_a_new_expert_gets_its_prototype_and_all_other_rows_stay():
    """Guards what other code does: it draws the whole table anew."""
    router = make_router(FORMS["linear"])
    prototype = torch.zeros(8)
    prototype[3] = -4.0
    grown = router.append("new", {"first": prototype, "third": torch.ones(6)})
    rows = grown.layers["first"].view(6, 8)
    old = router.layers["first"].view(5, 8)
    assert torch.equal(rows[:5], old)
    sign = 1.0 if old.sum(0)[3] >= 0 else -1.0
    expected = torch.zeros(8).index_fill(0, torch.tensor(3), 1.0) * sign * old.norm(dim=1).mean()
    torch.testing.assert_close(rows[5], expected)
    assert not grown.layers["second"].view(6, 5)[5].any()
    third = grown.layers["third"].view(6, 6)
    assert not third[:5].any() and third[5].norm() == pytest.approx(1)


@pytest.mark.parametrize(
    ("case", "reason"), [("keys", "with product keys its score"), ("groups", "its group")]
)
def test_a_router_without_a_row_for_a_new_expert_refuses_it(case, reason):
    with pytest.raises(ValueError, match=f"expert 'new' cannot be added to the trained router: {reason}"):
        make_router(FORMS[case]).append("new", {"first": torch.ones(8)})


def swap(**changes):
    return lambda packed: {**packed, **changes}


@pytest.mark.parametrize(
    "change",
    [
        lambda packed: {},
        lambda packed: {**packed, "more": torch.zeros(1)},
        lambda packed: {**packed, "parameters": packed["parameters"][:-1]},
        lambda packed: {**packed, "parameters": packed["parameters"].double()},
        lambda packed: {**packed, "parameters": packed["parameters"] * float("nan")},
        lambda packed: {**packed, "parameters": packed["parameters"][None]},
        swap(form=torch.tensor(list(b"[1]"), dtype=torch.uint8)),
        swap(form=torch.tensor(list(b"{}"), dtype=torch.uint8)),
        swap(form=torch.zeros(3)),
        swap(layout=torch.tensor(list(b'{"first": 60}'), dtype=torch.uint8)),
        swap(layout=torch.tensor(list(b'{"first": -1, "second": 66}'), dtype=torch.uint8)),
        swap(layout=torch.tensor(list(b'{"first": 64, "second": 1}'), dtype=torch.uint8)),
        swap(layout=torch.tensor(list(b'{"first": "65"}'), dtype=torch.uint8)),
    ],
)
def test_tensors_that_are_no_router_are_refused(change):
    packed = make_router(FORMS["linear"]).pack()
    assert packed["parameters"].shape == (65,)
    with pytest.raises((ValueError, FormatError)):
        unpack_router(change(packed))
