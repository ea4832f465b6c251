"""What a training run puts into a library, and what a library may say of trainings."""

from dataclasses import asdict, replace

import pytest
import torch

from lorary.cli.commands.train.store import ExpertStore
from lorary.data import TokenizedExample
from lorary.errors import LibraryError
from lorary.experts import Expert, ExpertCard, Factors
from lorary.library import Library
from lorary.training import TrainConfig, TrainingExamples
from lorary.training.same_training import find_training_fault

EXAMPLES = TrainingExamples(train=(TokenizedExample((1,), (2,)),))
CONFIG = TrainConfig(max_steps=1)
SAME = {"training": asdict(CONFIG), "data": {"digest": EXAMPLES.digest}}


@pytest.fixture
def library(tmp_path):
    return Library.open(str(tmp_path / "lib"), create=True)


def make_expert(provenance):
    factors = {"q": Factors(torch.ones(1, 2), torch.ones(2, 1))}
    return Expert("poetry", "org/base", factors, ExpertCard(base_fingerprint="abc", provenance=provenance))


def find_fault(provenance, config=CONFIG):
    card = make_expert(provenance).card
    digest = EXAMPLES.digest
    return find_training_fault(card, base_fingerprint="abc", data_digest=digest, config=config)


def test_the_same_training_is_known_however_it_was_cut_up():
    assert find_fault(SAME) is None
    cut_up = replace(CONFIG, tokens_per_pass=7, checkpoint_seconds=1.0, gradient_checkpointing=True)
    assert find_fault(SAME, cut_up) is None


@pytest.mark.parametrize(
    "provenance",
    [
        {},
        {**SAME, "training": None},
        {**SAME, "training": [1]},
        {**SAME, "training": "fast"},
        {**SAME, "training": {**asdict(CONFIG), "alpha": 64}},
        {**SAME, "training": {**asdict(CONFIG), "other\n": {}, "rank": []}},
        {**SAME, "data": 7},
        {**SAME, "data": ["digest"]},
        {**SAME, "data": {"digest": [1]}},
    ],
    ids=str,
)
def test_whatever_a_card_says_of_its_training_it_is_another_one(provenance):
    """Guards a bug: a card whose provenance was a list ended in an ``AttributeError``."""
    fault = find_fault(provenance)
    assert fault.startswith("it was trained") and "\n" not in fault


def test_each_expert_is_stored_once(library):
    store = ExpertStore(library, ["poetry"], {"template": "plain"})
    store.store({"poetry": make_expert(SAME)})
    del library["poetry"]
    store.store({"poetry": make_expert(SAME)})
    assert "poetry" not in library and list(store.stored) == ["poetry"]


def test_an_expert_that_came_meanwhile_is_kept(library):
    """Guards a harm: of two trainings of one name, the later one replaced the expert of the first."""
    store = ExpertStore(library, ["poetry"], {}, lambda name, card: "it is another" if card.tasks else None)
    library["poetry"] = replace(make_expert(SAME), card=ExpertCard(tasks=("odes",)))
    with pytest.raises(LibraryError, match=r"another expert 'poetry' came into library .* and is kept"):
        store.store({"poetry": make_expert(SAME)})
    assert library["poetry"].card.tasks == ("odes",)
    library["poetry"] = make_expert({})
    store.store({"poetry": make_expert(SAME)})
    assert library["poetry"].card.provenance["training"]
