import pytest
import torch
from transformers import AutoConfig

from lorary.errors import BaseModelError
from lorary.models import load_base, wrap_base
from lorary.models.base import default_dtype
from lorary.models.fingerprint import fingerprint_model


@pytest.fixture
def folder(llama, tokenizer, tmp_path):
    path = tmp_path / "tiny-llama"
    llama.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def base(llama, tokenizer):
    return wrap_base(llama, tokenizer, name="org/Tiny")


def test_a_local_folder_is_loaded_with_its_tokenizer(folder, llama, compute_logits):
    base = load_base(str(folder), dtype=torch.float32, device="cpu")
    assert base.name == str(folder) and base.revision is None
    assert base.tokenizer("yes no")["input_ids"] == [4, 5]
    assert torch.equal(compute_logits(base.model), compute_logits(llama))
    assert base.fingerprint == fingerprint_model(llama)


def test_a_tokenizer_is_called_as_its_base_model(folder, monkeypatch):
    """Guards messages that show a folder of the cache in place of the model's name."""
    monkeypatch.setattr("lorary.models.base.locate_hub_model", lambda name, revision: (folder, None))
    assert load_base("owner/name").tokenizer.name_or_path == "owner/name"


def test_a_loaded_base_is_frozen_and_in_evaluation_mode(folder):
    base = load_base(str(folder), device="cpu")
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.model.dtype == default_dtype(torch.device("cpu"))


def test_a_model_in_memory_is_called_what_it_was_loaded_by(folder, tokenizer, build_base):
    loaded = load_base(str(folder), device="cpu").model
    assert wrap_base(loaded, tokenizer).name == str(folder)
    assert wrap_base(build_base(), tokenizer).name == "llama"
    assert wrap_base(build_base(), tokenizer, name="mine").name == "mine"


def test_the_dtype_is_one_the_hardware_has():
    assert default_dtype(torch.device("cuda")) == torch.bfloat16
    assert default_dtype(torch.device("cpu")) in (torch.bfloat16, torch.float32)


def test_an_unknown_base_is_refused_with_what_there_is():
    message = (
        "no base model 'nobody/nothing': it is neither a local folder nor a model that this machine can "
        r"fetch from the hub\. The embedded base model is 'smollm2-135m'\. \(.+\)"
    )
    with pytest.raises(BaseModelError, match=message):
        load_base("nobody/nothing")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(BaseModelError, match=r"the folder '.+' has no language model that transformers"):
        load_base(str(tmp_path))


def test_a_model_without_a_tokenizer_is_refused(llama, tmp_path):
    llama.save_pretrained(tmp_path)
    with pytest.raises(BaseModelError, match="has no language model"):
        load_base(str(tmp_path))


def test_a_model_of_another_kind_is_refused(tmp_path):
    AutoConfig.for_model("t5").save_pretrained(tmp_path)
    with pytest.raises(BaseModelError, match="has no language model"):
        load_base(str(tmp_path))


def test_damaged_weights_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BaseModelError, match="has no language model"):
        load_base(str(folder))
