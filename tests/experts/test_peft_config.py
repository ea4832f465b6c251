import math

import pytest

from lorary.errors import FormatError
from lorary.experts.peft_config import compute_scales, parse_adapter_config


def test_the_scale_comes_from_the_module_s_own_rank_and_alpha():
    value = {
        "r": 4,
        "lora_alpha": 8,
        "rank_pattern": {"up_proj": 16},
        "alpha_pattern": {r"layers\.1\..*": 32},
    }
    modules = [f"model.layers.{layer}.{end}_proj" for layer in (0, 1) for end in ("q", "up")]
    found = compute_scales(parse_adapter_config(value, "f"), modules)
    assert [found[module] for module in modules] == [(4, 2), (16, 0.5), (4, 8), (16, 2)]
    rslora = compute_scales(parse_adapter_config({**value, "use_rslora": True}, "f"), modules)
    assert rslora[modules[3]] == (16, 8) and rslora[modules[1]] == (16, 8 / math.sqrt(16))


def test_what_a_file_leaves_out_is_peft_s_default(peft):
    config = parse_adapter_config({}, "f")
    default = peft.LoraConfig()
    assert (config.rank, config.alpha) == (default.r, default.lora_alpha)
    assert (config.use_rslora, config.fan_in_fan_out) == (default.use_rslora, default.fan_in_fan_out)
    assert parse_adapter_config({"rank_pattern": None, "base_model_name_or_path": None}, "f").base_model == ""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"r": "8"}, "r must be a whole number from 1 to 1048576, found '8'"),
        ({"r": 0}, "r must be a whole number from 1 to 1048576, found 0"),
        ({"r": True}, "r must be a whole number from 1 to 1048576, found True"),
        ({"lora_alpha": math.nan}, "lora_alpha must be a finite number within float32's range, found nan"),
        ({"rank_pattern": {"q(": 4}}, "rank_pattern must map regular expressions"),
        ({"rank_pattern": {"q": 4.5}}, "rank_pattern must map regular expressions"),
        ({"alpha_pattern": [4]}, "alpha_pattern must map regular expressions"),
        ({"use_rslora": "yes"}, "use_rslora must be true or false, found 'yes'"),
        (
            {"base_model_name_or_path": 3},
            "base_model_name_or_path must be a string of at most 4096 characters or null, found 3",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_its_file(value, message):
    with pytest.raises(FormatError, match=f"'some/config'.*{message}.*correct the file"):
        parse_adapter_config(value, "some/config")


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(FormatError, match=r"r must be .*; lora_alpha must be .*; revision must be"):
        parse_adapter_config({"r": -1, "lora_alpha": None, "revision": 1}, "f")
