"""Base models whose folders others changed: code and pickles are not run."""

import json
import os
import time

import pytest
import torch

from lorary.errors import BaseModelError
from lorary.models import load_base


def test_code_that_comes_with_a_base_model_is_not_run(place, tmp_path):
    folder, mark = tmp_path / "bases" / "tiny", tmp_path / "it-ran"
    code = f"open({str(mark)!r}, 'w')\n"
    (folder / "modeling_mine.py").write_text(code)
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "modeling_mine.Config", "AutoModelForCausalLM": "modeling_mine.Model"}
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": auto, "model_type": "mine"}))
    begun = time.monotonic()
    with pytest.raises(BaseModelError):
        load_base(str(folder))
    assert not mark.exists() and time.monotonic() - begun < 10  # nobody is asked whether to trust it


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickled_weights_are_not_read(base, tmp_path):
    folder, mark = tmp_path / "bases" / "tiny", tmp_path / "it-ran"
    (folder / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": Bomb(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(BaseModelError, match="safetensors"):
        load_base(str(folder))
    assert not mark.exists()


CONFIGS = [
    b"",
    b"[]",
    b"{}",
    b"null",
    b"[" * 100_000,
    b'{"model_type": 3}',
    b'{"model_type": "llama", "vocab_size": "x"}',
    b"\xff\xfe",
]


@pytest.mark.parametrize("content", CONFIGS)
def test_a_base_model_of_any_other_content_is_refused(base, tmp_path, content):
    folder = tmp_path / "bases" / "tiny"
    (folder / "config.json").write_bytes(content)
    with pytest.raises(BaseModelError):
        load_base(str(folder))
