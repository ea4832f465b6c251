import pytest

from lorary.data import TokenizedExample
from lorary.errors import UnknownExpert
from lorary.evaluation import Route, make_routes
from lorary.evaluation.items import Item
from lorary.evaluation.routes import check_routes
from lorary.passes.layout import Layout
from lorary.routing import ROUTERS, ArrowConfig

OWN = {"dates": "dates", "morse": "morse"}


def test_names_become_routes(model):
    names = ["base", "uniform", "arrow", "oracle", "random", "expert:plurals"]
    arrow = ArrowConfig(top_k=2)
    found = make_routes(names, model, OWN, options={"arrow": arrow}, combine="factors")
    routes = {route.name: route for route in found}
    assert list(routes) == names
    assert routes["base"] == Route(name="base")
    assert routes["uniform"] == Route(name="uniform", router="uniform", combine="factors")
    assert routes["arrow"] == Route(name="arrow", router="arrow", options=arrow, combine="factors")
    assert routes["oracle"].expert_of == OWN
    assert routes["random"].expert_of == {"dates": "random", "morse": "random"}
    assert routes["expert:plurals"].expert_of == {"dates": "plurals", "morse": "plurals"}


@pytest.mark.parametrize("name", ROUTERS)
def test_every_router_is_a_route(model, name):
    (route,) = make_routes([name], model, OWN)
    assert route == Route(name=name, router=name)


def test_the_oracle_answers_with_the_experts_it_is_given(model):
    """Guards a bug: the experts given were ignored, and those of the tasks' names taken."""
    (route,) = make_routes(["oracle"], model, {"days": "dates", "signals": "morse"})
    assert route.expert_of == {"days": "dates", "signals": "morse"}


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (Route(name="base"), None),
        (Route(name="uniform", router="uniform"), None),
        (Route(name="oracle", expert_of=OWN), (((1,), (1.0,)), ((0,), (1.0,)))),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_only_routes_with_own_experts_decide_without_reading(model, route, expected):
    found = route.prepare(model, [(5, 6)], Layout.PACKED, tokens_per_pass=9, row_length=9)
    tokens = TokenizedExample((5, 6), ())
    known = tuple(found.find(Item(task, tokens)) for task in ("morse", "dates"))
    assert known == (expected or (None, None))
    assert (found.router is None) == (route.router is None)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("arow", ValueError, "there is no route 'arow': did you mean 'arrow'"),
        ("multi-task", ValueError, "there is no route 'multi-task'"),
        ("plurals", ValueError, "there is no route 'plurals': did you mean 'expert:plurals'?"),
        ("expert:plural", UnknownExpert, "has no expert 'plural': did you mean 'plurals'"),
    ],
)
def test_what_is_no_route_is_refused(model, name, kind, message):
    with pytest.raises(kind, match=message):
        make_routes(["base", name], model, OWN)
    with pytest.raises(kind, match=message):
        check_routes([name], model.names, model.controls)


def test_an_oracle_with_an_unknown_expert_is_refused(model):
    with pytest.raises(UnknownExpert, match="'signals'"):
        make_routes(["oracle"], model, {"morse": "signals"})
