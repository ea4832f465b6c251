import pytest
from transformers import AutoModelForCausalLM

from lorary.models.positions import count_positions
from tests.architectures import tiny_config


@pytest.mark.parametrize("model_type", ["gpt2", "opt", "gpt_neo", "gptj", "codegen", "ctrl", "biogpt"])
def test_models_with_a_table_of_positions_have_as_many(model_type):
    assert count_positions(AutoModelForCausalLM.from_config(tiny_config(model_type))) == 64


@pytest.mark.parametrize("model_type", ["llama", "bloom", "mamba", "gpt_neox"])
def test_other_models_take_any_number(model_type):
    assert count_positions(AutoModelForCausalLM.from_config(tiny_config(model_type))) is None
