import pytest
import torch

from lorary.models import load_base
from lorary.models.fingerprint import fingerprint_model
from lorary.models.quantized.source_fingerprint import fingerprint_files


def test_files_have_the_fingerprint_of_the_loaded_model(family, find_folder):
    folder = find_folder(family)
    base = load_base(folder, device="cpu")
    # Files of GPT-NeoX have another name for the output layer.
    expected = None if family == "gpt_neox" else base.fingerprint
    assert fingerprint_files(folder, base.model.config) == expected


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": True}])
def test_also_in_bfloat16_and_in_several_files(build_base, tmp_path, changes):
    model = build_base("qwen2", **changes)
    model.to(torch.bfloat16).save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert fingerprint_files(tmp_path, model.config) == fingerprint_model(model)


def test_names_that_transformers_converts_make_it_unknown(build_base, tmp_path):
    model = build_base("llama")
    model.model.save_pretrained(tmp_path)  # without the prefix, and without the output layer
    assert fingerprint_files(tmp_path, model.config) is None
    assert fingerprint_files(tmp_path / "none", model.config) is None


def test_another_shape_makes_it_unknown(build_base, tmp_path):
    build_base("llama").save_pretrained(tmp_path)
    other = build_base("llama", intermediate_size=40)
    assert fingerprint_files(tmp_path, other.config) is None
