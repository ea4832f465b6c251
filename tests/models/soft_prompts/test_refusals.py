"""What soft prompts cannot do."""

import json

import pytest
import torch

from lorary.assembly import load_model
from lorary.errors import BaseModelError, FormatError, IncompatibleExpert
from lorary.experts import Expert, read_peft
from lorary.experts.parts.soft_prompt import MODEL, SoftPromptPart
from lorary.models import attach_experts, fold, wrap_base
from lorary.transforms import merge
from tests.mixtures import build_mixture
from tests.models.soft_prompts.cases import IDS, run, train

pytestmark = pytest.mark.filterwarnings("ignore:expert .* routers do not choose it")


def test_what_a_soft_prompt_cannot_do_is_refused_with_what_it_can(base, everyone, plain):
    _, experts = everyone
    possible = "can be stored, verified, evaluated, exported"
    with pytest.raises(IncompatibleExpert, match=f"a plain model cannot hold.*{possible}"):
        fold(base, experts["prompt"])
    pair = {"prompt": experts["prompt"].rename("prompt"), "plain": plain}
    with pytest.raises(IncompatibleExpert, match=f"has a soft prompt.*{possible}"):
        merge(pair, method="linear", names=["plain", "prompt"])
    with pytest.warns(UserWarning, match="leaves out 1 other, such as 'prompt', which has a soft prompt"):
        assert merge(pair, method="linear").card.parents == ("plain",)
    with pytest.raises(IncompatibleExpert, match=f"has a soft prompt.*{possible}"):
        load_model(wrap_base(base), experts, router="arrow")
    model = load_model(wrap_base(base), experts, router=None)
    with pytest.raises(ValueError, match="soft prompt cannot be used with compile"):
        model.generate([[5, 6, 7]], experts="prompt", compile=True)


@pytest.mark.parametrize("family", ["gpt2"], indirect=True)
def test_a_text_that_is_too_long_with_its_soft_prompt_is_refused(base, everyone):
    stack = attach_experts(base, everyone[1])
    ids = torch.full((1, 62), 5)
    with stack.assign(["prompt"]), pytest.raises(BaseModelError, match="67 tokens with its soft prompt"):
        run(base, ids)


def test_a_cache_of_other_experts_is_refused(base, everyone):
    stack = attach_experts(base, everyone[1])
    with torch.no_grad():
        cache = base(input_ids=IDS, use_cache=True).past_key_values
    with stack.assign(["prompt"] * 4), pytest.raises(ValueError, match="made with the same experts"):
        run(base, IDS[:, :1], past_key_values=cache, attention_mask=torch.ones(4, 8), use_cache=True)


def test_a_soft_prompt_of_another_model_is_refused(base):
    for part, message in (
        (SoftPromptPart(torch.ones(3, 31)), "its embeddings have 32 numbers, the expert's 31"),
        (SoftPromptPart(torch.ones(3, 31), has_states=True), "keys and values have 64 numbers"),
    ):
        with pytest.raises(IncompatibleExpert, match=message):
            attach_experts(base, {"x": Expert("x", "", {}, parts={MODEL: (part,)})})


@pytest.mark.parametrize("family", ["gpt2"], indirect=True)
def test_more_virtual_tokens_than_positions_are_refused(base):
    with pytest.raises(IncompatibleExpert, match="61 virtual tokens leave no room in its 64 positions"):
        attach_experts(base, {"x": Expert("x", "", {}, parts={MODEL: (SoftPromptPart(torch.ones(61, 32)),)})})


@pytest.mark.filterwarnings("ignore")
def test_a_model_whose_state_has_no_keys_is_refused_a_prefix():
    base = build_mixture("mamba")
    part = SoftPromptPart(torch.ones(3, 64), has_states=True)
    with pytest.raises(IncompatibleExpert, match="cannot read: its cache has other contents"):
        attach_experts(base, {"x": Expert("x", "", {}, parts={MODEL: (part,)})})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_virtual_tokens": 9}, "num_virtual_tokens is 9"),
        ({"task_type": "SEQ_2_SEQ_LM"}, "a soft prompt for a model with an encoder and a decoder"),
        ({"num_virtual_tokens": "5"}, "num_virtual_tokens must be a whole number"),
    ],
)
def test_damaged_files_are_refused(peft, base, tmp_path, change, message):
    train(peft, base, "prompt", tmp_path / "x")
    path = tmp_path / "x" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FormatError, match=message):
        read_peft(tmp_path / "x")
