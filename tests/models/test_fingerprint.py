import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from lorary.models.fingerprint import fingerprint_model


def test_a_checkpoint_has_one_fingerprint_in_float32_and_bfloat16(llama, tmp_path):
    llama.save_pretrained(tmp_path)
    found = {
        fingerprint_model(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    assert found == {fingerprint_model(llama)}


def test_a_fingerprint_is_24_hexadecimal_digits_and_repeats(family, build_base):
    first, second = fingerprint_model(build_base(family)), fingerprint_model(build_base(family))
    assert first == second
    assert len(first) == 24 and int(first, 16) >= 0


def test_every_tensor_counts(llama):
    found = {fingerprint_model(llama)}
    for parameter in llama.parameters():
        parameter.view(-1)[0] += 1
        found.add(fingerprint_model(llama))
    assert len(found) == 1 + len(list(llama.parameters()))


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.75])
def test_values_are_sampled_all_over_a_tensor(llama, share):
    before, weight = fingerprint_model(llama), llama.model.embed_tokens.weight
    weight.view(-1)[int(share * weight.numel())] += 1
    assert fingerprint_model(llama) != before


@pytest.mark.parametrize(
    "changes", [{"num_hidden_layers": 3}, {"intermediate_size": 40}, {"num_key_value_heads": 4}]
)
def test_another_shape_of_the_same_family_is_another_model(build_base, changes):
    assert fingerprint_model(build_base(**changes)) != fingerprint_model(build_base())


def test_no_two_families_share_a_fingerprint(build_base):
    families = ("llama", "mistral", "qwen2", "gemma", "phi", "gpt_neox", "gpt2")
    assert len({fingerprint_model(build_base(family)) for family in families}) == len(families)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"num_attention_heads": 2, "head_dim": 16, "num_key_value_heads": 1}),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}}),
        ("llama", {"rms_norm_eps": 1e-5}),
        ("llama", {"hidden_act": "gelu"}),
        ("mistral", {"sliding_window": 3}),
        ("phi", {"num_attention_heads": 8, "num_key_value_heads": 4}),
        ("gpt2", {"num_attention_heads": 8}),
        ("gpt2", {"layer_norm_epsilon": 1e-6}),
    ],
)
def test_the_same_weights_used_in_another_way_are_another_model(build_base, compute_logits, family, changes):
    model, other = build_base(family), build_base(family, **changes)
    other.load_state_dict(model.state_dict())
    assert (compute_logits(other) - compute_logits(model)).abs().max() > 0
    one, two = fingerprint_model(model), fingerprint_model(other)
    assert one[:16] == two[:16] and one[16:] != two[16:]


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_dropout": 0.5, "use_cache": False, "initializer_range": 0.01, "pretraining_tp": 2},
        {"eos_token_id": [2, 3], "pad_token_id": None, "bos_token_id": 5},
        {"architectures": ["Other"], "name_or_path": "elsewhere", "some_tools_version": "1.2"},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000}},
    ],
)
def test_what_changes_no_answer_changes_no_fingerprint(llama, changes):
    before = fingerprint_model(llama)
    for name, value in changes.items():
        setattr(llama.config, name, value)
    assert fingerprint_model(llama) == before


def test_a_configuration_survives_its_file(llama, tmp_path):
    llama.save_pretrained(tmp_path)
    assert fingerprint_model(AutoModelForCausalLM.from_pretrained(tmp_path)) == fingerprint_model(llama)


def test_an_architecture_of_ones_own_counts_what_it_declares(llama):
    class OwnConfig(PreTrainedConfig):
        model_type = "own"

        def __init__(self, heads: int, **settings):
            self.heads = heads
            super().__init__(**settings)

    found = []
    for heads in (1, 2):
        llama.config = OwnConfig(heads, note="by hand")
        found.append(fingerprint_model(llama))
    assert found[0][:16] == found[1][:16] and found[0] != found[1]
