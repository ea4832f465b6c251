import pytest

from lorary.routing import ROUTERS, ArrowConfig, configure_router, router_named
from lorary.routing.named import list_options


def test_a_router_is_found_by_its_name():
    assert router_named("arrow") is ROUTERS["arrow"]


def test_options_become_a_configuration():
    assert configure_router("arrow", {"top_k": 2, "input_norm": "rms"}) == ArrowConfig(
        top_k=2, input_norm="rms"
    )


def test_the_options_of_a_router_are_its_fields():
    assert list_options("spectr") == ["top_k", "temperature", "input_norm", "abstain"]
    assert list_options("uniform") == []


def test_an_unknown_router_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="no router is named 'arow': did you mean 'arrow'"):
        configure_router("arow", {})


@pytest.mark.parametrize(
    ("router", "options", "message"),
    [
        (
            "phatgoose",
            {"topk": 2},
            "router 'phatgoose' has no option 'topk': did you mean 'top_k'? "
            "its options are top_k, temperature, abstain",
        ),
        ("single", {"zzz": 2}, "router 'single' has no option 'zzz': its options are expert"),
        ("uniform", {"top_k": 2}, "router 'uniform' has no option 'top_k': it has none"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_and_the_known_ones(router, options, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        configure_router(router, options)
    assert str(caught.value) == message


def test_all_unknown_options_are_named():
    with pytest.raises(ValueError, match=r"no option 'topk': .*; router 'arrow' has no option 'heat'"):
        configure_router("arrow", {"topk": 2, "heat": 1.0})
