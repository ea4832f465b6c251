"""Models that cannot be a base are refused before anything is done with them."""

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from lorary.errors import BaseModelError
from lorary.models import wrap_base
from lorary.models.usable import check_usable


def add_lora(model):
    return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))


def test_a_plain_model_is_accepted(family, build_base):
    check_usable(build_base(family))


@pytest.mark.filterwarnings("ignore")  # of torch and PEFT, about themselves
def test_a_compiled_model_is_refused(llama):
    with pytest.raises(BaseModelError, match=r"must not be compiled by torch.compile.*pass the model itself"):
        wrap_base(torch.compile(llama))


@pytest.mark.filterwarnings("ignore")  # of torch and PEFT, about themselves
def test_a_model_of_peft_is_refused(llama):
    with pytest.raises(BaseModelError, match=r"found PeftModel.*merge_and_unload"):
        wrap_base(add_lora(llama))


@pytest.mark.filterwarnings("ignore")  # of torch and PEFT, about themselves
def test_a_model_that_carries_layers_of_peft_is_refused(llama):
    add_lora(llama)
    with pytest.raises(BaseModelError, match=r"this LlamaForCausalLM has some, such as"):
        wrap_base(llama)


def test_a_model_without_numbers_is_refused(tiny_config):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(tiny_config())
    with pytest.raises(BaseModelError, match=r"of this LlamaForCausalLM are on the device 'meta'"):
        wrap_base(model)
    model.hf_device_map = {"model": 0, "lm_head": "disk"}
    with pytest.raises(BaseModelError, match=r"are offloaded to disk, such as .*: load all of it"):
        wrap_base(model)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eos_token_id", "2"),
        ("eos_token_id", 10**30),
        ("pad_token_id", [1.5]),
        ("use_cache", "yes"),
        ("cache_implementation", 3),
        ("cache_config", "x"),
        ("prefill_chunk_size", 0),
        ("prefill_chunk_size", True),
        ("output_hidden_states", "x"),
    ],
)
def test_a_generation_configuration_of_wrong_types_is_refused(llama, name, value):
    setattr(llama.generation_config, name, value)
    with pytest.raises(BaseModelError, match=f"generation_config.json of LlamaForCausalLM: {name} must be"):
        wrap_base(llama)


def test_a_generation_configuration_of_right_types_is_accepted(llama):
    for name, value in {"eos_token_id": [1, 2], "use_cache": False, "prefill_chunk_size": 4}.items():
        setattr(llama.generation_config, name, value)
    wrap_base(llama)
