"""Adapters on models that are no causal language models."""

import json
import warnings

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    T5Config,
    T5ForConditionalGeneration,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from lorary.errors import FormatError, UnsupportedAdapter
from lorary.experts import read_peft, write_peft
from lorary.library import Library


@pytest.mark.parametrize(
    ("kind", "name"),
    [("SEQ_CLS", "a sequence classifier"), ("TOKEN_CLS", "a token classifier"), ("QUESTION_ANS", "question")],
)
def test_a_classifier_is_refused_as_such(adapter, edit_config, kind, name):
    edit_config(task_type=kind, modules_to_save=["classifier", "score"])
    with pytest.raises(
        UnsupportedAdapter, match=f"found {name if name != 'question' else 'an extractive question'}"
    ):
        read_peft(adapter)


def test_an_unknown_task_type_is_refused(adapter, edit_config):
    edit_config(task_type="CHESS")
    with pytest.raises(
        FormatError, match="task_type must be one of CAUSAL_LM, SEQ_2_SEQ_LM, FEATURE_EXTRACTION"
    ):
        read_peft(adapter)


def build_whisper():
    config = WhisperConfig(
        vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=8,
        max_source_positions=10, max_target_positions=10, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    inputs = {"input_features": torch.randn(1, 8, 20), "decoder_input_ids": torch.tensor([[1, 5, 7]])}
    return WhisperForConditionalGeneration(config), inputs, ["q_proj", "v_proj"]


def build_t5():
    config = T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    inputs = {"input_ids": torch.tensor([[3, 4, 5]]), "decoder_input_ids": torch.tensor([[0, 5, 7]])}
    return T5ForConditionalGeneration(config), inputs, ["q", "v"]


def build_bert():
    config = BertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    return AutoModel.from_config(config), {"input_ids": torch.tensor([[3, 4, 5]])}, ["query", "value"]


CLASSES = {
    "whisper": (build_whisper, None),
    "whisper, seq2seq": (build_whisper, "SEQ_2_SEQ_LM"),
    "t5": (build_t5, "SEQ_2_SEQ_LM"),
    "features": (build_bert, "FEATURE_EXTRACTION"),
    "no task": (build_bert, None),
}


@pytest.mark.parametrize(("build", "task_type"), CLASSES.values(), ids=CLASSES)
def test_an_adapter_on_any_class_is_written_back_for_that_class(
    tmp_path, peft, make_adapter, build, task_type
):
    torch.manual_seed(5)
    model, inputs, targets = build()
    model.eval()
    trained = make_adapter(model, target_modules=targets, task_type=task_type)
    trained.save_pretrained(tmp_path / "in")
    write_peft(read_peft(tmp_path / "in", name="x"), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["task_type"] == task_type
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=FutureWarning)
        again = peft.PeftModel.from_pretrained(model, tmp_path / "out").eval()
    assert type(again) is type(trained)
    with torch.no_grad():
        expected, found = trained.base_model.model(**inputs)[0], again.base_model.model(**inputs)[0]
    torch.testing.assert_close(found, expected)


def test_the_task_type_passes_through_a_library(tmp_path, make_adapter, peft):
    model, _, targets = build_t5()
    make_adapter(model, target_modules=targets, task_type="SEQ_2_SEQ_LM").save_pretrained(tmp_path / "in")
    library = Library.open(tmp_path / "lib", create=True)
    library.add(read_peft(tmp_path / "in", name="x"))
    assert library["x"].card.task_type == "SEQ_2_SEQ_LM"
