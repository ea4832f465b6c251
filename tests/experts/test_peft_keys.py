import pytest

from lorary.errors import FormatError
from lorary.experts.peft_keys import name_tensors, pair_tensors

PREFIX = "base_model.model."


def test_names_and_pairs_are_each_other_s_inverse(make_expert):
    factors = make_expert().factors
    named = name_tensors(factors)
    pairs = pair_tensors(named, "f")
    assert {module: (named[a], named[b]) for module, (a, b) in pairs.items()} == dict(factors)


def test_a_module_may_bear_a_name_like_a_factor():
    names = [f"{PREFIX}x.lora_A.weight.y.lora_{side}.weight" for side in "AB"]
    assert list(pair_tensors(names, "f")) == ["x.lora_A.weight.y"]


def test_what_only_shapes_velora_s_backward_pass_is_left_out():
    names = [f"{PREFIX}q.lora_A.weight", f"{PREFIX}q.lora_B.weight", f"{PREFIX}q.lora_velora_embed"]
    assert list(pair_tensors(names, "f")) == ["q"]


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.q_proj.lora_A.weight",
        f"{PREFIX}q.lora_A.default.weight",
        f"{PREFIX}q.lora_C.weight",
        f"{PREFIX}q.lora_A",
        "base_model.model.lora_A.weight",
        "",
    ],
)
def test_an_unknown_name_is_refused_and_shown(name):
    with pytest.raises(FormatError, match=f"'f' must have only tensors with names .* found {name!r}: save"):
        pair_tensors([f"{PREFIX}k.lora_A.weight", f"{PREFIX}k.lora_B.weight", name], "f")


def test_many_unknown_names_are_counted():
    with pytest.raises(FormatError, match="'a', 'b', 'c' and 2 more"):
        pair_tensors("abcde", "f")


@pytest.mark.parametrize(("side", "other"), ["AB", "BA"])
def test_half_a_pair_is_refused(side, other):
    names = [f"{PREFIX}k.lora_A.weight", f"{PREFIX}k.lora_B.weight", f"{PREFIX}q.lora_{side}.weight"]
    with pytest.raises(FormatError, match=f"lora_A and lora_B of each module, found only lora_{side} of 'q'"):
        pair_tensors(names, "f")


def test_an_empty_file_is_refused():
    with pytest.raises(FormatError, match="must have LoRA factors, found no tensor"):
        pair_tensors([], "f")
