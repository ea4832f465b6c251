import pytest
import torch

from lorary.experts import Expert, Factors
from lorary.facts import generic_text, shipped_texts
from lorary.facts.generic_text import LENGTH, NUM_TEXTS, SETTINGS, GenericRequests
from lorary.facts.shipped_texts import FOLDER, format_texts, read_shipped_texts
from lorary.models import attach_experts, load_base


def test_there_are_none_of_a_base_model_that_the_package_does_not_know():
    assert read_shipped_texts("0" * 24, SETTINGS) is None


def test_there_are_none_for_other_settings():
    fingerprint = next(FOLDER.iterdir()).stem
    assert read_shipped_texts(fingerprint, SETTINGS) is not None
    assert read_shipped_texts(fingerprint, SETTINGS.replace("seed=0", "seed=1")) is None


def test_a_fingerprint_is_no_path(tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    (tmp_path / "other.txt").write_text(format_texts(torch.ones(2, 3, dtype=torch.int64), SETTINGS))
    monkeypatch.setattr(shipped_texts, "FOLDER", tmp_path / "texts")
    assert read_shipped_texts("../other", SETTINGS) is None


def test_written_texts_are_read_as_they_were(tmp_path, monkeypatch):
    texts = torch.arange(6).reshape(2, 3)
    (tmp_path / "abc.txt").write_text(format_texts(texts, SETTINGS))
    monkeypatch.setattr(shipped_texts, "FOLDER", tmp_path)
    assert torch.equal(read_shipped_texts("abc", SETTINGS), texts)


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.stem)
def test_shipped_texts_are_as_many_and_as_long_as_written_ones(file):
    texts = read_shipped_texts(file.stem, SETTINGS)
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
    assert {ids[0] for ids in read_shipped_texts(base.fingerprint, SETTINGS).tolist()} == {
        base.tokenizer.bos_token_id
    }
