import json
import re
from pathlib import Path

import pytest
import torch

from lorary.cli.command_table import load_command
from lorary.errors import BaseModelError
from lorary.models import load_base
from lorary.models.quantized import configs
from lorary.models.quantized.configs import QUANTIZATIONS, make_quantization


def test_an_unknown_quantization_names_the_nearest_before_a_model_is_read():
    with pytest.raises(ValueError, match="there is no quantization '4bits': did you mean '4bit'"):
        load_base("no/such/model", quantization="4bits")


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_a_package_that_is_not_installed_is_named_with_the_command(name, monkeypatch):
    monkeypatch.setattr(configs, "find_spec", lambda package: None)
    message = re.escape(
        f"quantization {name!r} needs the package {QUANTIZATIONS[name].method}, which is not "
    )
    with pytest.raises(BaseModelError, match=message + re.escape("installed: run `pip install 'lorary[quan")):
        make_quantization(name, torch.float32)


def test_a_quantised_folder_needs_its_package_too(find_folder, tmp_path, monkeypatch):
    for file in Path(find_folder()).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(configs, "find_spec", lambda package: None)
    with pytest.raises(BaseModelError, match="needs the package bitsandbytes, which is not installed"):
        load_base(str(tmp_path))
    with pytest.raises(BaseModelError, match="is already quantised, by 'bitsandbytes': load it without"):
        load_base(str(tmp_path), quantization=make_own())


def make_own():
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True)


def test_layers_that_the_package_leaves_as_they_are_are_no_quantised_model(load_quantized):
    with pytest.raises(BaseModelError, match="no layer that quantization 'torchao-8bit' changes"):
        load_quantized("torchao-8bit", "gpt2")


def test_the_command_line_has_these_names():
    import jsonargparse

    parser = jsonargparse.ArgumentParser()
    load_command("generate").add_arguments(parser)
    (action,) = [action for action in parser._actions if action.dest == "quantize"]
    assert all(repr(name) in str(action._typehint) for name in QUANTIZATIONS)
