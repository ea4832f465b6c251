"""Answers of transformers' greedy search, whatever a base model's generation configuration prefers."""

import pytest
import torch
from transformers import BatchEncoding, GenerationConfig
from transformers.generation.streamers import BaseStreamer

from lorary.assembly import load_model
from lorary.assembly.answering import group_prompts
from lorary.errors import BaseModelError
from lorary.models import wrap_base

PROMPTS = [[5, 6, 7, 8], [9, 10]]


@pytest.fixture
def model(build_tiny_base, draw_expert):
    base = build_tiny_base()
    return load_model(base, {"poetry": draw_expert(base, "poetry")}, router="uniform")


@pytest.mark.parametrize(
    "preference",
    [
        {"repetition_penalty": 5.0},
        {"do_sample": True, "temperature": 5.0, "min_p": 0.01},
        {"suppress_tokens": list(range(40, 200))},
        {"guidance_scale": 3.0},
        {"num_beams": 3},
        {"no_repeat_ngram_size": 1},
        {"forced_eos_token_id": 7},
        {"return_dict_in_generate": True},
        {"max_length": 5},
        {"assistant_early_exit": 1},
        {"encoder_no_repeat_ngram_size": 10**9},
        {"prompt_lookup_num_tokens": 2},
    ],
)
def test_what_the_base_model_prefers_changes_no_greedy_answer(model, preference):
    expected = model.generate(PROMPTS, max_new_tokens=8)
    model.model.generation_config = GenerationConfig(**preference)
    assert model.generate(PROMPTS, max_new_tokens=8) == expected


def test_a_generation_config_comes_before_all_else(model):
    greedy = model.generate(PROMPTS, max_new_tokens=12)
    penalty = GenerationConfig(repetition_penalty=5.0)
    penalised = model.generate(PROMPTS, max_new_tokens=12, generation_config=penalty)
    assert penalised != greedy
    model.model.generation_config = penalty
    assert model.generate(PROMPTS, max_new_tokens=12) == greedy
    as_it_prefers = model.generate(PROMPTS, max_new_tokens=12, generation_config=penalty)
    assert as_it_prefers == penalised


def test_beams_and_several_equal_answers_to_a_prompt_are_refused(model):
    with pytest.raises(ValueError, match="num_beams must be 1, found 2; give input_ids instead of prompts"):
        model.generate(PROMPTS, generation_config=GenerationConfig(num_beams=2))
    with pytest.raises(ValueError, match="num_return_sequences must be 1 without sampling, found 2"):
        model.generate(PROMPTS, num_return_sequences=2)
    with pytest.raises(ValueError, match="num_return_sequences must be at least 1, found 0"):
        model.generate(PROMPTS, num_return_sequences=0)


def test_several_answers_to_a_prompt_are_drawn_and_follow_one_another(model):
    drawn = {"max_new_tokens": 8, "temperature": 3.0, "seed": 1, "num_return_sequences": 2}
    answers = model.generate(PROMPTS, experts=["poetry", None], **drawn)
    repeated = [prompt for prompt in PROMPTS for _ in range(2)]
    experts = ["poetry", "poetry", None, None]
    expected = model.generate(repeated, experts=experts, max_new_tokens=8, temperature=3.0, seed=1)
    assert answers == expected and answers[0] != answers[1]
    assert len(model.generate("Say", **drawn)) == 2
    config = GenerationConfig(num_return_sequences=2, do_sample=True, temperature=3.0, max_new_tokens=8)
    assert len(model.generate("Say", generation_config=config)) == 2


def test_a_stop_string_may_be_one_text(model):
    whole = model.generate("Say", max_new_tokens=12)
    stop = whole[len(whole) // 2]
    assert model.generate("Say", max_new_tokens=12, stop_strings=stop) == whole.partition(stop)[0]


def test_a_streamer_gets_the_answer(model):
    shown = []

    class Shown(BaseStreamer):
        def put(self, value):
            shown.extend(value.flatten().tolist())

        def end(self):
            shown.append("end")

    answer = model.generate([PROMPTS[0]], max_new_tokens=12, streamer=Shown())
    assert shown[: len(PROMPTS[0])] == PROMPTS[0] and shown.count("end") == 1
    assert model.tokenizer.decode(shown[len(PROMPTS[0]) : -1], skip_special_tokens=True) == answer[0]
    with pytest.raises(ValueError, match="a streamer shows one answer, found 2 answers"):
        model.generate(PROMPTS, streamer=Shown())


def test_a_conversation_is_put_into_the_chat_template(model):
    messages = [{"role": "user", "content": "Say"}]
    with pytest.raises(BaseModelError, match=r"has no chat template for messages"):
        model.generate(messages)
    model.tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    ids = model.tokenizer("<user>Say", add_special_tokens=False)["input_ids"]
    answer = model.generate(messages, max_new_tokens=6)
    assert answer == model.generate([ids], max_new_tokens=6)[0]
    assert model.generate([messages, ids], max_new_tokens=6) == [answer, answer]
    model.tokenizer.chat_template = "{{ raise_exception('no') }}"
    with pytest.raises(ValueError, match="refuses the messages"):
        model.generate(messages)


@pytest.mark.parametrize("experts", ["auto", "poetry", ["poetry", None]])
def test_token_ids_as_tensors_give_what_transformers_gives(model, experts):
    ids = torch.tensor([[5, 6, 7], [9, 10, 11]])
    settings = {"max_new_tokens": 5, "eos_token_id": None}
    found = model.generate(ids, experts=experts, **settings)
    assert torch.equal(found[:, :3], ids) and found.shape == (2, 8)
    each = experts if isinstance(experts, list) else [experts] * 2
    for row, one in zip(found, each, strict=True):
        if one == "auto":
            alone = model.model.generate(row[None, :3], do_sample=False, **settings)
        else:
            with model.assign([one]):
                alone = model.model.generate(row[None, :3], do_sample=False, **settings)
        assert torch.equal(row, alone[0])
    whole = model.generate(
        input_ids=ids, experts=experts, temperature=2.0, seed=0, num_return_sequences=2, **settings
    )
    assert whole.shape == (4, 8)


def test_a_configuration_may_be_the_second_argument_as_in_transformers(model):
    settings = GenerationConfig(max_new_tokens=3, do_sample=False)
    for prompts in ("Say", torch.tensor([[5, 6, 7]])):
        found, expected = (
            model.generate(prompts, settings),
            model.generate(prompts, generation_config=settings),
        )
        assert (found if isinstance(found, str) else found.tolist()) == (
            expected if isinstance(expected, str) else expected.tolist()
        )


def test_what_does_not_go_together_is_refused(model):
    ids = torch.tensor([[5, 6, 7]])
    with pytest.raises(TypeError, match="takes attention_mask with input_ids only"):
        model.generate("Say", attention_mask=ids)
    with pytest.raises(TypeError, match=r"takes max_new_token with .*: did you mean 'max_new_tokens'"):
        model.generate("Say", max_new_token=4)
    with pytest.raises(ValueError, match="needs prompts, or input_ids"):
        model.generate()
    with pytest.raises(ValueError, match="found only inputs: give the token ids as input_ids"):
        model.generate(inputs=ids)
    with pytest.raises(ValueError, match=r"input_ids must be a tensor \[B, L\], found shape \[3\]"):
        model.generate(ids[0])
    with pytest.raises(TypeError, match=r"found a mapping with .*input_ids.*: .* generate\(\*\*inputs\)"):
        model.generate(BatchEncoding({"input_ids": ids, "attention_mask": ids}))
    with pytest.raises(TypeError, match="messages of a conversation as a list"):
        model.generate({"role": "user", "content": "Say"})
    with pytest.raises(TypeError, match="found 'int': put them into a list"):
        model.generate(5)
    with pytest.raises(ValueError, match="first_line is for prompts"):
        model.generate(ids, first_line=True)
    with pytest.raises(ValueError, match="cannot be used with beams, found num_beams 2"):
        model.generate(ids, experts="poetry", num_beams=2)


def test_a_model_that_heeds_no_left_padding_answers_prompts_of_one_length_together(model, monkeypatch):
    prompts = [[5, 6, 7], [8], [9, 10, 11], [12]]
    experts = ["poetry", None, None, "poetry"]
    expected = model.generate(prompts, experts=experts, max_new_tokens=5)
    monkeypatch.setattr("lorary.assembly.answering.can_pad_left", lambda stack: False)
    mask = torch.tensor([[1, 1, 1], [0, 0, 1], [1, 1, 1], [0, 0, 1]])
    assert group_prompts(model.stack, mask, {}) == [[0, 2], [1, 3]]
    assert model.generate(prompts, experts=experts, max_new_tokens=5) == expected
    with model.assign(experts):
        assert model.generate(prompts, max_new_tokens=5) == expected


def test_a_prompt_beyond_the_models_positions_is_refused_before_any_work(
    tiny_config, build_tiny_base, draw_expert
):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    bare = AutoModelForCausalLM.from_config(tiny_config("gpt2", max_position_embeddings=32)).eval()
    base = wrap_base(bare, build_tiny_base().tokenizer, name="gpt2")
    model = load_model(base, {"poetry": draw_expert(base, "poetry")}, router="arrow")
    assert isinstance(model.generate([[5] * 25], max_new_tokens=8)[0], str)
    model.model.forward = None
    message = (
        "the longest prompt with its answer has 33 tokens, but GPT2LMHeadModel has 32 positions: shorten it"
    )
    with pytest.raises(BaseModelError, match=message):
        model.generate([[5] * 26], max_new_tokens=8)
    with pytest.raises(BaseModelError, match="the text has 45 tokens, but GPT2LMHeadModel has 32 positions"):
        model.explain([5] * 45)


def test_answers_end_with_the_strings_of_a_generation_configuration(model):
    whole = model.generate(PROMPTS[:2], max_new_tokens=12)
    stop = whole[0][len(whole[0]) // 2]
    ended = model.generate(
        PROMPTS[:2], max_new_tokens=12, generation_config=GenerationConfig(stop_strings=[stop])
    )
    for answer, full in zip(ended, whole, strict=True):
        assert full.startswith(answer)
        assert answer == full or answer.endswith(stop)


def test_settings_of_what_is_returned_change_no_answer(model):
    """Regression: such a setting was passed to transformers twice."""
    config = GenerationConfig(return_dict_in_generate=True, output_scores=True)
    answers = model.generate(PROMPTS, max_new_tokens=4, generation_config=config)
    assert answers == model.generate(PROMPTS, max_new_tokens=4)
