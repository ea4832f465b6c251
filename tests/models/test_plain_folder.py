import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from lorary.errors import BaseModelError
from lorary.experts import Expert, Factors
from lorary.models import fold
from lorary.models.plain_folder import write_plain


def test_a_temperature_without_sampling_is_mended_as_transformers_asks(llama, tmp_path):
    llama.generation_config = own = GenerationConfig(temperature=0.6, top_p=0.9)
    write_plain(llama, tmp_path)
    assert llama.generation_config is own
    saved = GenerationConfig.from_pretrained(tmp_path)
    assert (saved.temperature, saved.top_p, saved.do_sample) == (0.6, 0.9, True)


def test_other_faults_are_refused_before_anything_is_written(llama, tmp_path):
    llama.generation_config.pad_token_id = -1
    with pytest.raises(BaseModelError, match="generation configuration of LlamaForCausalLM cannot be saved"):
        write_plain(llama, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folded_output_layer_is_no_longer_tied(build_base, tmp_path):
    model = build_base("llama", tie_word_embeddings=True)
    factors = {"lm_head": Factors(torch.randn(2, 32), torch.randn(96, 2))}
    folded = fold(model, Expert("poetry", "base", factors))
    assert model.config.tie_word_embeddings
    assert not folded.config.tie_word_embeddings
    write_plain(folded, tmp_path)
    ids = torch.tensor([[5, 6, 7]])
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again(input_ids=ids).logits, folded(input_ids=ids).logits)
