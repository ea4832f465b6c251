"""Options of other types, and of extreme values, on every router. A new router joins by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import NoneType, UnionType
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import torch

from lorary.routing import ROUTERS, configure_router
from lorary.routing.named import REQUEST_ROUTERS, TOKEN_ROUTERS
from lorary.routing.option_types import LARGEST, SMALLEST

HUGE = 10**400
# What each type refuses.
WRONG = {
    int: ["3", 3.0, True, [3], float("nan")],
    float: ["0.5", True, [0.5], {}, 1j],
    bool: ["yes", 1, 0.0],
    str: [3, ["morse"], b"morse"],
    Literal: [3, ["rms"], True],
    Sequence: ["morse", 3, [3], [None], {"morse"}],
    Mapping: ["morse", 3, [3], {"morse": "0.5"}, {3: 0.5}, {"morse": True}],
}
NEEDED = {"fixed": {"weights": {"expert 0": 1.0}}, "single": {"expert": "expert 0"}}


def kind_of(name, option):
    """The type that an option is declared to have, besides None."""
    hint = get_type_hints(ROUTERS[name].config)[option]
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kind = next(part for part in parts if part is not NoneType)
    return get_origin(kind) or kind


FIELDS = [(name, field.name) for name, kind in ROUTERS.items() for field in fields(kind.config)]
NUMBERS = [(name, option) for name, option in FIELDS if kind_of(name, option) is float]
EXTREMES = [0.0, 1e-320, SMALLEST, 1e-10, 1e10, LARGEST, 1e38, 1e39, 1e300, float("inf"), float("nan"), HUGE]


@pytest.mark.parametrize(("name", "option"), FIELDS)
def test_a_value_of_another_type_is_refused_by_name(name, option):
    for value in WRONG[kind_of(name, option)]:
        with pytest.raises(ValueError, match=f"{option} must be "):
            configure_router(name, {**NEEDED.get(name, {}), option: value})


@pytest.mark.parametrize(("name", "option"), FIELDS)
def test_a_default_has_the_declared_type(name, option):
    assert isinstance(configure_router(name, {}), ROUTERS[name].config)


def test_all_wrong_types_are_named_at_once():
    with pytest.raises(ValueError, match=r"top_k must be a whole number or None, found '3'; .*weigh_by_gain"):
        configure_router("arrow", {"top_k": "3", "weigh_by_gain": "yes"})


def test_a_value_is_quoted_shortly():
    with pytest.raises(ValueError, match="top_k") as caught:
        configure_router("arrow", {"top_k": "9\x1b" * 10_000})
    assert len(str(caught.value)) < 200 and caught.value.args[0].isprintable()


def choose(name, config, make_material, make_request_material, draw):
    if name in TOKEN_ROUTERS:
        return TOKEN_ROUTERS[name].build(config, make_material(6))(draw(9, 16))
    router = REQUEST_ROUTERS[name].build(config, make_request_material(6))
    widths = {"first": 16, "second": 12, "output": 10, "names": 6}
    return router.choose({place: router.describe(place, draw(9, widths[place])) for place in router.places})


@pytest.mark.parametrize("kernels", ["compiled", "plain"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("name", "option"), NUMBERS)
def test_an_extreme_value_is_refused_or_gives_finite_weights(
    name, option, sign, kernels, make_material, make_request_material, draw, monkeypatch
):
    """Guards a bug: `abstain: 1e300` gave NaN."""
    if kernels == "plain":
        monkeypatch.setenv("LORARY_KERNELS", "0")
        monkeypatch.setattr("lorary.kernels.cpu.load_object", lambda: None)
    for value in EXTREMES:
        for more in ({}, {"abstain": 0.5}, {"temperature": SMALLEST}):
            options = {**NEEDED.get(name, {}), **more, option: sign * value}
            if not options.keys() <= {field.name for field in fields(ROUTERS[name].config)}:
                continue
            try:
                config = configure_router(name, options)
            except ValueError:
                continue
            indices, weights = choose(name, config, make_material, make_request_material, draw)
            assert weights.isfinite().all() and indices.dtype == torch.int64
            if option not in ("weights", "spread"):
                assert (weights >= 0).all() and (weights.sum(-1) <= 1.5 + 1e-5).all()


@pytest.mark.parametrize("value", [HUGE, -HUGE, 1e300, float("nan"), float("inf")])
def test_extreme_fixed_weights_are_refused(value):
    with pytest.raises(ValueError, match="weights must be finite"):
        configure_router("fixed", {"weights": {"morse": value}})


def test_a_base_models_score_is_held_against_the_temperature():
    with pytest.raises(ValueError, match=r"abstain must be at most 1e\+30 temperatures"):
        configure_router("arrow", {"abstain": 1e20, "temperature": 1e-20})
    configure_router("arrow", {"abstain": 1e9, "temperature": 1e-20})
