"""Quantised copies and the models they are of know each other."""

import warnings
from dataclasses import replace

import pytest

from lorary.assembly import load_model, save_model
from lorary.errors import BaseModelError, IncompatibleExpert
from lorary.models import load_base
from lorary.models.check_base import check_base


def make_for(base, make_expert):
    expert = make_expert(base.model, base_fingerprint=base.fingerprint)
    return replace(expert, base_model=base.name)


def collect(base, expert):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_base(base, expert)
    return [str(warning.message) for warning in caught]


def test_an_expert_of_the_full_model_fits_its_copy_and_the_other_way_round(
    quantized, find_folder, make_expert
):
    full = load_base(quantized.name, device="cpu")
    assert quantized.fingerprint.endswith(f".{full.fingerprint}") and quantized.kept == full.kept
    for base, other in ((full, quantized), (quantized, full)):
        (note,) = collect(base, make_for(other, make_expert))
        assert "are treated as one base model: outputs differ" in note
        assert collect(base, make_for(base, make_expert)) == []


def test_another_models_expert_does_not_fit_a_copy(load_quantized, build_base, make_expert):
    base = load_quantized("4bit")
    other = replace(make_for(base, make_expert), card=make_expert(base.model, base_fingerprint="0" * 24).card)
    with pytest.raises(IncompatibleExpert, match="load it with the version of that base model"):
        check_base(base, other)


def test_a_copy_that_was_saved_is_known_by_what_quantisation_keeps(load_quantized, make_expert, tmp_path):
    base = load_quantized("4bit")
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    again = load_base(str(tmp_path), device="cpu")
    assert base.fingerprint.startswith(again.fingerprint) and again.quantization is None
    full = load_base(base.name, device="cpu")
    (note,) = collect(full, make_for(again, make_expert))
    assert "as their embeddings and norms and their settings are equal" in note


@pytest.mark.parametrize("with_base", [False, True])
def test_a_saved_model_loads_its_base_quantised(
    load_quantized, make_expert, compute_logits, tmp_path, with_base, monkeypatch
):
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    base = load_quantized("4bit")
    experts = {"poetry": make_for(base, make_expert)}
    model = load_model(base, experts, router="uniform")
    save_model(model, tmp_path / "model", with_base=with_base)
    again = load_model(tmp_path / "model", device="cpu")
    assert again.base.fingerprint == base.fingerprint
    assert again.generate([[5, 6, 7]], max_new_tokens=3) == model.generate([[5, 6, 7]], max_new_tokens=3)
    with pytest.raises(ValueError, match="a saved model has its own quantization"):
        load_model(tmp_path / "model", quantization="8bit")


def test_a_configuration_has_no_name_that_could_be_saved(load_quantized, make_expert, tmp_path):
    base = replace(load_quantized("4bit"), quantization="own")
    model = load_model(base, {"poetry": make_for(base, make_expert)}, router="uniform")
    with pytest.raises(
        ValueError, match=r"its file has only names of quantisations \(4bit, 8bit, torchao-8bit"
    ):
        save_model(model, tmp_path / "model")


def test_another_base_is_not_the_saved_models(load_quantized, make_expert, tmp_path, find_folder):
    base = load_quantized("4bit")
    model = load_model(base, {"poetry": make_for(base, make_expert)}, router="uniform")
    model.base = replace(base, quantization=None)
    save_model(model, tmp_path / "model")
    with pytest.raises(BaseModelError, match="the base model found by that name has"):
        load_model(tmp_path / "model", device="cpu")
