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

EXAMPLES = {"poetry": TrainingExamples(train=(TokenizedExample((1,), (2,)),))}
CONFIG = TrainConfig(max_steps=1)
SAME = {"training": asdict(CONFIG), "data": {"digest": EXAMPLES["poetry"].digest}}


@pytest.fixture
def library(tmp_path):
    return Library.open(str(tmp_path / "lib"), create=True)


def make_expert(provenance):
    factors = {"q": Factors(torch.ones(1, 2), torch.ones(2, 1))}
    return Expert("poetry", "org/base", factors, ExpertCard(base_fingerprint="abc", provenance=provenance))


def check(library, config=CONFIG):
    ExpertStore(library, EXAMPLES, {}).check_names(config, "abc")


def test_the_same_training_may_be_stored_again_however_it_was_cut_up(library):
    library["poetry"] = make_expert(SAME)
    check(library)
    check(library, replace(CONFIG, tokens_per_pass=7, checkpoint_seconds=1.0, gradient_checkpointing=True))


@pytest.mark.parametrize(
    "provenance",
    [
        {},
        {**SAME, "training": None},
        {**SAME, "training": [1]},
        {**SAME, "training": "fast"},
        {**SAME, "training": {**asdict(CONFIG), "alpha": 64}},
        {**SAME, "data": 7},
        {**SAME, "data": ["digest"]},
        {**SAME, "data": {"digest": [1]}},
    ],
    ids=str,
)
def test_whatever_a_card_says_of_its_training_it_is_another_one(library, provenance):
    """Guards a bug: a card whose provenance was a list ended in an ``AttributeError``."""
    library["poetry"] = make_expert(provenance)
    with pytest.raises(LibraryError, match="already has 'poetry' from other data or settings: add --replace"):
        check(library)


def test_each_expert_is_stored_once(library):
    store = ExpertStore(library, EXAMPLES, {"template": "plain"})
    store.store({"poetry": make_expert(SAME)})
    del library["poetry"]
    store.store({"poetry": make_expert(SAME)})
    assert "poetry" not in library and list(store.stored) == ["poetry"]
