import math

import pytest

from lorary.errors import FormatError
from lorary.experts.peft_config import match_pattern, parse_adapter_config

MODULES = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.1.self_attn.q_proj",
    "model.layers.11.self_attn.q_proj",
    "model.layers.1.mlp.up_proj",
    "encoder.model.layers.1.mlp.up_proj",
    "lm_head",
    "q_proj",
    "my_q_proj",
]
PATTERNS = [
    ["q_proj"],
    ["^q_proj"],
    ["model.layers.1.self_attn.q_proj"],
    ["^model.layers.1.mlp.up_proj", "up_proj"],
    ["up_proj", "^model.layers.1.mlp.up_proj"],
    [r"layers\.\d+\.self_attn\.(q|k)_proj"],
    [".*"],
    ["layers.1", "proj"],
    ["mlp.up_proj|q_proj"],
    [],
]


@pytest.mark.parametrize("patterns", PATTERNS)
@pytest.mark.parametrize("module", MODULES)
def test_patterns_match_as_in_peft(peft, patterns, module):
    from peft.utils.other import get_pattern_key

    assert (match_pattern(patterns, module) or module) == get_pattern_key(patterns, module)


def test_the_scale_comes_from_the_module_s_own_rank_and_alpha():
    value = {
        "r": 4,
        "lora_alpha": 8,
        "rank_pattern": {"up_proj": 16},
        "alpha_pattern": {r"layers\.1\..*": 32},
    }
    config = parse_adapter_config(value, "f")
    assert config.scale_of("model.layers.0.q_proj") == 2
    assert config.scale_of("model.layers.0.up_proj") == 0.5
    assert config.scale_of("model.layers.1.q_proj") == 8
    assert config.scale_of("model.layers.1.up_proj") == 2
    rslora = parse_adapter_config({**value, "use_rslora": True}, "f")
    assert rslora.scale_of("model.layers.1.up_proj") == 8
    assert rslora.scale_of("model.layers.0.up_proj") == 8 / math.sqrt(16)


def test_what_a_file_leaves_out_is_peft_s_default(peft):
    config = parse_adapter_config({}, "f")
    default = peft.LoraConfig()
    assert (config.rank, config.alpha) == (default.r, default.lora_alpha)
    assert (config.use_rslora, config.fan_in_fan_out) == (default.use_rslora, default.fan_in_fan_out)
    assert parse_adapter_config({"rank_pattern": None, "base_model_name_or_path": None}, "f").base_model == ""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"r": "8"}, "r must be a whole number above 0, found '8'"),
        ({"r": 0}, "r must be a whole number above 0, found 0"),
        ({"r": True}, "r must be a whole number above 0, found True"),
        ({"lora_alpha": math.nan}, "lora_alpha must be a finite number, found nan"),
        ({"rank_pattern": {"q(": 4}}, "rank_pattern must be an object of regular expressions"),
        ({"rank_pattern": {"q": 4.5}}, "rank_pattern must be an object of regular expressions"),
        ({"alpha_pattern": [4]}, "alpha_pattern must be an object of regular expressions"),
        ({"use_rslora": "yes"}, "use_rslora must be true or false, found 'yes'"),
        ({"base_model_name_or_path": 3}, "base_model_name_or_path must be a string or null, found 3"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_file(value, message):
    with pytest.raises(FormatError, match=f"'some/config'.*{message}.*correct the file"):
        parse_adapter_config(value, "some/config")


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(FormatError, match=r"r must be .*; lora_alpha must be .*; revision must be"):
        parse_adapter_config({"r": -1, "lora_alpha": None, "revision": 1}, "f")
