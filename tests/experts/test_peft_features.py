import dataclasses

import pytest

from lorary.errors import FormatError, UnsupportedAdapter
from lorary.experts.peft_features import (
    ACCEPTED_SETTINGS,
    REFUSED_SETTINGS,
    check_features,
    check_peft_type,
)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("LORA", "LoraConfig"),
        ("IA3", "IA3Config"),
        ("SHIRA", "ShiraConfig"),
        ("TRAINABLE_TOKENS", "TrainableTokensConfig"),
    ],
)
def test_every_setting_of_peft_is_known(peft, kind, name):
    """Fails when a new PEFT adds a setting: decide then whether it changes the forward pass."""
    known = ACCEPTED_SETTINGS[kind] | (REFUSED_SETTINGS.keys() if kind == "LORA" else set())
    found = {field.name for field in dataclasses.fields(getattr(peft, name))}
    assert found <= known <= found | {"exclude_modules", "modules_to_save"}


def test_a_default_configuration_is_accepted(peft):
    check_features(peft.LoraConfig().to_dict(), [], "f")


@pytest.mark.parametrize("value", [True, False, None, "gaussian", "eva", "orthogonal", "mica"])
def test_initialisations_that_leave_the_base_alone_are_accepted(value):
    check_features({"init_lora_weights": value}, [], "f")


@pytest.mark.parametrize(
    "value", ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "something new"]
)
def test_initialisations_that_change_the_base_are_refused(value):
    with pytest.raises(
        UnsupportedAdapter, match=f"init_lora_weights='{value}'.*path_initial_model_for_weight"
    ):
        check_features({"init_lora_weights": value}, [], "f")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modules_to_save", ["lm_head"]),
        ("use_dora", True),
        ("bias", "some"),
        ("lora_bias", True),
        ("trainable_token_indices", [1, 2]),
        ("megatron_config", {"a": 1}),
        ("layer_replication", [[0, 2], [1, 3]]),
        ("alora_invocation_tokens", [5]),
        ("use_qalora", True),
        ("use_bdlora", {"nblocks": 2}),
        ("monteclora_config", {"num_samples": 2}),
        ("arrow_config", {"top_k": 3}),
        ("kasa_config", {"beta": 1}),
        ("some_new_setting", 1),
    ],
)
def test_a_setting_that_changes_the_forward_pass_is_refused_with_advice(key, value):
    with pytest.raises(UnsupportedAdapter, match=rf"adapter 'some/folder' .*{key}.*: \w+"):
        check_features({key: value}, [], "some/folder")


@pytest.mark.parametrize(
    ("kind", "setting", "title"),
    [("dora", "use_dora", "DoRA magnitudes"), ("added bias", "lora_bias", "biases in lora_B")],
)
def test_tensors_that_peft_would_ignore_are_refused(kind, setting, title):
    check_features({setting: True}, [kind], "f")
    with pytest.raises(UnsupportedAdapter, match=f"{title} without {setting}: save the adapter again"):
        check_features({}, [kind], "f")


def test_all_features_are_named_at_once_and_none_twice():
    config = {
        "use_dora": True,
        "modules_to_save": ["score"],
        "bias": "some",
        "init_lora_weights": "olora",
        "trainable_token_indices": [3],
    }
    with pytest.raises(UnsupportedAdapter) as caught:
        check_features(config, [], "f")
    message = str(caught.value)
    for feature in ("use_dora=True", "modules_to_save=", "bias=", "init_lora_weights=", "trained tokens"):
        assert message.count(feature) == 1


def test_a_long_value_is_shortened():
    with pytest.raises(UnsupportedAdapter) as caught:
        check_features({"modules_to_save": ["x" * 5000]}, [], "f")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", ["ADALORA", "OFT", "VERA", "LOHA", "LOKR", 3, ["LORA"]])
def test_another_type_of_adapter_is_refused(kind):
    with pytest.raises(
        UnsupportedAdapter,
        match=r"must be of peft_type LORA, IA3, SHIRA, .*, found .*: merge it .* lorary extract, or",
    ):
        check_peft_type({"peft_type": kind}, "f")


def test_a_file_without_a_type_is_no_adapter():
    with pytest.raises(FormatError, match="'f' must have a peft_type, found none"):
        check_peft_type({"r": 8}, "f")
