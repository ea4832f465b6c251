import pytest
import torch
from transformers import AutoModelForCausalLM

from lorary.models import fingerprint_model


def test_a_checkpoint_has_one_fingerprint_in_float32_and_bfloat16(llama, tmp_path):
    llama.save_pretrained(tmp_path)
    found = {
        fingerprint_model(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    assert found == {fingerprint_model(llama)}


def test_a_fingerprint_is_sixteen_hexadecimal_digits_and_repeats(family, build_base):
    first, second = fingerprint_model(build_base(family)), fingerprint_model(build_base(family))
    assert first == second
    assert len(first) == 16 and int(first, 16) >= 0


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
