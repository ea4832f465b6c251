import dataclasses

import pytest

from lorary.errors import FormatError, UnsupportedAdapter
from lorary.experts.peft_features import KNOWN_SETTINGS, check_features, check_peft_type

SOUND = ["base_model.model.model.layers.0.q_proj.lora_A.weight"]


def test_every_setting_of_peft_s_lora_is_known(peft):
    """Fails when a new PEFT adds a setting: decide then whether it changes the forward pass."""
    assert {field.name for field in dataclasses.fields(peft.LoraConfig)} == set(KNOWN_SETTINGS)


def test_a_default_configuration_is_accepted(peft):
    check_features(peft.LoraConfig().to_dict(), SOUND, "f")


@pytest.mark.parametrize("value", [True, False, None, "gaussian", "eva", "orthogonal", "mica"])
def test_initialisations_that_leave_the_base_alone_are_accepted(value):
    check_features({"init_lora_weights": value}, SOUND, "f")


@pytest.mark.parametrize(
    "value", ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "something new"]
)
def test_initialisations_that_change_the_base_are_refused(value):
    with pytest.raises(
        UnsupportedAdapter, match=f"init_lora_weights='{value}'.*path_initial_model_for_weight"
    ):
        check_features({"init_lora_weights": value}, SOUND, "f")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modules_to_save", ["lm_head"]),
        ("use_dora", True),
        ("bias", "all"),
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
    with pytest.raises(UnsupportedAdapter, match=rf"adapter 'some/folder' .*{key}=.*: \w+"):
        check_features({key: value}, SOUND, "some/folder")


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("base_model.model.q.lora_magnitude_vector", "DoRA magnitudes"),
        ("base_model.model.embed_tokens.lora_embedding_A", "LoRA on embeddings"),
        ("base_model.model.q.lora_B.bias", "biases in lora_B"),
        ("base_model.model.embed_tokens.token_adapter.trainable_tokens_delta", "trained tokens"),
        ("base_model.model.q.trainable_tokens_delta.lora_A.weight", "trained tokens"),
        ("base_model.model.q.base_layer.bias", "biases"),
    ],
)
def test_a_tensor_of_another_feature_is_refused_even_if_the_settings_hide_it(name, feature):
    with pytest.raises(UnsupportedAdapter, match=rf"{feature} \(1 tensor such as '{name}'\)"):
        check_features({}, [*SOUND, name], "f")


def test_all_features_are_named_at_once_and_none_twice():
    names = [*SOUND, "base_model.model.q.lora_magnitude_vector", "base_model.model.e.lora_embedding_B"]
    config = {
        "use_dora": True,
        "modules_to_save": ["score"],
        "bias": "lora_only",
        "init_lora_weights": "olora",
    }
    with pytest.raises(UnsupportedAdapter) as caught:
        check_features(config, names, "f")
    message = str(caught.value)
    for feature in ("use_dora=True", "modules_to_save=", "bias=", "init_lora_weights=", "LoRA on embeddings"):
        assert feature in message
    assert "DoRA magnitudes" not in message


def test_a_long_value_is_shortened():
    with pytest.raises(UnsupportedAdapter) as caught:
        check_features({"modules_to_save": ["x" * 5000]}, SOUND, "f")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", ["IA3", "ADALORA", "PROMPT_TUNING", 3])
def test_another_type_of_adapter_is_refused(kind):
    with pytest.raises(UnsupportedAdapter, match=f"peft_type 'LORA', found {kind!r}"):
        check_peft_type({"peft_type": kind}, "f")


def test_a_file_without_a_type_is_no_adapter():
    with pytest.raises(FormatError, match="'f' must have a peft_type, found none"):
        check_peft_type({"r": 8}, "f")
