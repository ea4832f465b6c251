"""What a base model's folder must not make ``transformers`` do."""

import json
import os

import pytest

from lorary.errors import BaseModelError, FormatError, LoraryError
from lorary.models import load_base
from lorary.models.base_folder import check_base_folder


def write(folder, name, value):
    (folder / name).write_text(json.dumps(value))


def test_a_plain_folder_passes(tmp_path):
    write(tmp_path, "config.json", {"model_type": "llama", "attn_implementation": "sdpa"})
    write(tmp_path, "model.safetensors.index.json", {"weight_map": {"a": "model-1.safetensors"}})
    (tmp_path / "original").mkdir()
    check_base_folder(tmp_path)
    check_base_folder(tmp_path / "nothing")


def test_an_adapter_beside_a_base_model_is_refused(tmp_path):
    """Guards a harm: transformers loaded the model that the adapter names, and put the adapter on it."""
    write(tmp_path, "adapter_config.json", {"base_model_name_or_path": "/elsewhere"})
    with pytest.raises(BaseModelError, match=r"must have no adapter, .* `lorary library add`"):
        load_base(str(tmp_path))


@pytest.mark.parametrize("name", ["../elsewhere", "sub/x.safetensors", "/x", "..", 7, None, ["x"]])
def test_an_index_must_name_files_beside_it(tmp_path, name):
    """Guards a harm: weights outside of a saved model's folder were loaded, whatever its hashes."""
    value = [name] if isinstance(name, list) else {"weight": name}
    write(tmp_path, "model.safetensors.index.json", {"weight_map": value})
    with pytest.raises(BaseModelError, match="must name files of its own folder"):
        check_base_folder(tmp_path)


@pytest.mark.parametrize(
    "config",
    [{"attn_implementation": "evil/kernel"}, {"sub": {"_experts_implementation": "evil/kernel:f"}}],
)
def test_a_configuration_that_asks_for_code_is_refused(tmp_path, config):
    write(tmp_path, "config.json", config)
    with pytest.raises(BaseModelError, match=r"not name code to be loaded, .*implementation 'evil/kernel"):
        check_base_folder(tmp_path)


def test_special_files_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match="found a named pipe"):
        check_base_folder(tmp_path)
    with pytest.raises(LoraryError):
        load_base(str(tmp_path))
