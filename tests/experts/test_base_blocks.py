import json

import pytest

from lorary.experts.base_blocks import count_blocks


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_hidden_layers": 30}, 30),
        ({"n_layer": 12}, 12),
        ({"model_type": "x", "text_config": {"num_hidden_layers": 4}}, 4),
        ({"model_type": "x"}, None),
        ({"num_hidden_layers": -1}, None),
        ({"num_hidden_layers": True}, None),
        ({"num_hidden_layers": "4", "text_config": [1]}, None),
    ],
)
def test_the_configuration_says_how_many_blocks_there_are(tmp_path, config, expected):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert count_blocks(str(tmp_path)) == expected


@pytest.mark.parametrize("text", ["", "[", "[1]", "null", "[" * 9000, "\x00"])
def test_what_is_no_configuration_says_nothing(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert count_blocks(str(tmp_path)) is None


def test_what_is_not_on_this_machine_is_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert count_blocks("nobody/no-such-model") is None
    assert count_blocks("not a model at all/\x00/..") is None
    assert count_blocks("") is None
    (tmp_path / "config.json").mkdir()
    assert count_blocks(str(tmp_path)) is None
