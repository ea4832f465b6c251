"""Options that were tuned for a library are those of its default router."""

import pytest

from lorary.assembly import load_model
from lorary.library import Library

GENERIC = ("Some text of no task.", "And another one, 1 2 3.")


@pytest.fixture
def library(tmp_path, experts):
    library = Library.open(str(tmp_path / "lib"), create=True)
    library.add_all(experts)
    library.tune("calibrated", {"margin": 0.25, "most": 0.7})
    return library


def test_the_default_router_takes_them_and_says_so(base, library, caplog):
    caplog.set_level("INFO", "lorary")
    model = load_model(base, library, generic=GENERIC, most=0.9)
    assert (model.routing[1].margin, model.routing[1].most) == (0.25, 0.9)
    told = "router 'calibrated' with options tuned for this library: margin=0.25"
    assert told in [record.message for record in caplog.records]


def test_a_router_that_is_named_does_not(base, library, caplog):
    caplog.set_level("INFO", "lorary")
    model = load_model(base, library, router="calibrated", generic=GENERIC)
    assert model.routing[1].margin == type(model.routing[1])().margin
    assert not [record for record in caplog.records if "tuned" in record.message]


def test_a_listener_is_told(base, library):
    events = []
    load_model(base, library.routed(), generic=GENERIC, on_progress=lambda *event: events.append(event))
    assert ("router 'calibrated' with options tuned for this library: margin=0.25, most=0.7", 0, 0) in events


def test_an_option_that_the_router_does_not_have_is_refused(base, library):
    library.tune("calibrated", {"margins": 0.25})
    with pytest.raises(ValueError, match="margins"):
        load_model(base, library, generic=GENERIC)
