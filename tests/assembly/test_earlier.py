"""A model that a version before the table of facts saved, with everything that it knew about its experts.

Two experts of ranks 1 and 2 on the tiny base, routed by Arrow. ``answers.safetensors`` holds what each router
made of the tokens 5, 9, 30, 7: the logits of the last.
"""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lorary.assembly import load_model
from lorary.facts import calibrations, prototypes

EARLIER = Path(__file__).parent / "earlier"
OPTIONS = {
    "arrow": {},
    "calibrated": {"generic": ("one two", "three four five", "six")},
    "mean_activation": {},
    "phatgoose": {},
    "retrieval": {},
}


@pytest.fixture
def folder(tmp_path):
    """A copy, because a library that is open has locks."""
    return shutil.copytree(EARLIER / "model", tmp_path / "model")


@pytest.mark.parametrize("router", OPTIONS)
def test_it_opens_and_answers_as_before_and_nothing_is_computed_anew(folder, router, monkeypatch):
    monkeypatch.setattr(prototypes, "library_prototypes", lambda *args: pytest.fail("prototypes are stored"))
    monkeypatch.setattr(calibrations, "calibrate_layer", lambda *args: pytest.fail("calibrations are stored"))
    model = load_model(folder, router=router, dtype=torch.float32, top_k=1, **OPTIONS[router])
    with torch.no_grad():
        found = model(input_ids=torch.tensor([[5, 9, 30, 7]])).logits[0, -1]
    expected = load_file(EARLIER / "answers.safetensors")[router]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_its_router_is_the_one_that_was_saved(folder):
    model = load_model(folder)
    assert model.routing[0] == "arrow" and model.routing[1].top_k == 1
    assert model.names == ("dates", "morse")
