import pytest
import torch

from lorary.experts import Expert, Factors
from lorary.facts import generic_text
from lorary.facts.generic_text import LENGTH, NUM_TEXTS, GenericRequests
from lorary.facts.shipped_texts import FOLDER, read_shipped_texts
from lorary.models import attach_experts, load_base


def test_there_are_none_of_a_base_model_that_the_package_does_not_know():
    assert read_shipped_texts("0" * 24) is None


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.stem)
def test_shipped_texts_are_as_many_and_as_long_as_written_ones(file):
    texts = read_shipped_texts(file.stem)
    assert texts.shape == (NUM_TEXTS, LENGTH)
    assert len(texts.unique(dim=0)) == NUM_TEXTS


@pytest.mark.slow
def test_the_embedded_base_model_writes_nothing_anew(monkeypatch):
    base = load_base()
    monkeypatch.setattr(generic_text, "write_texts", None)
    factors = {"model.layers.0.self_attn.q_proj": Factors(torch.zeros(1, 576), torch.zeros(576, 1))}
    stack = attach_experts(base.model, {"one": Expert("one", base.name, factors)})
    sequences = GenericRequests(base, stack).sequences()
    assert len(sequences) == NUM_TEXTS * generic_text.PIECES
    assert {ids[0] for ids in read_shipped_texts(base.fingerprint).tolist()} == {base.tokenizer.bos_token_id}
