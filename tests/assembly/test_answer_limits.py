import pytest
import torch
from transformers import GenerationConfig

from lorary.assembly import answering
from lorary.assembly.answer_limits import AnswerLimit, AnswersEnd, spread_limits

PROMPTS = ["the cat", "a dog sat on", "one", "two three four"]


class Words:
    """A tokenizer whose token 1 is a line break."""

    def decode(self, ids, skip_special_tokens):
        return "".join("\n" if token == 1 else f" w{token}" for token in ids.tolist())


def test_a_single_value_is_the_limit_of_every_prompt():
    assert spread_limits(5, [True, False], 2) == [AnswerLimit(5, True), AnswerLimit(5, False)]
    assert spread_limits([1, 2], False, 2) == [AnswerLimit(1), AnswerLimit(2)]


@pytest.mark.parametrize(
    ("most", "lines", "message"),
    [
        ([1], False, "max_new_tokens must be one value, or one for each of 2 prompts, found 1"),
        (1, [True] * 3, "first_line must be one value, or one for each of 2 prompts, found 3"),
        ([1, 0], False, "max_new_tokens must be at least 1, found 0"),
        ([1, 2.5], False, "max_new_tokens must be at least 1, found 2.5"),
        (2.5, False, "max_new_tokens must be at least 1, found 2.5"),
    ],
)
def test_limits_that_do_not_fit_the_prompts_are_refused(most, lines, message):
    with pytest.raises(ValueError, match=message):
        spread_limits(most, lines, 2)


def test_rows_end_by_their_own_number_of_tokens_or_with_their_first_line_of_text():
    ends = AnswersEnd([AnswerLimit(2), AnswerLimit(9, True), AnswerLimit(9)], 1, Words())
    steps = torch.tensor([[7, 5, 5, 5, 5], [7, 1, 5, 1, 5], [7, 5, 1, 5, 5]])
    done = [ends(steps[:, :length], None).tolist() for length in range(2, 6)]
    assert done == [[False] * 3, [True, False, False], [True, True, False], [True, True, False]]
    assert ends.lengths == [2, 3, None]


class Thinks(Words):
    """Every answer opens with a thought of several lines, which token 2 ends."""

    def decode(self, ids, skip_special_tokens):
        text = super().decode(ids, skip_special_tokens).replace(" w2", "</think>\n\n")
        return f"<think>\n{text}"


def test_a_thought_is_not_the_first_line_of_an_answer():
    ends = AnswersEnd([AnswerLimit(9, True)], 1, Thinks())
    steps = torch.tensor([[7, 5, 1, 2, 5, 1]])
    done = [ends(steps[:, :length], None).tolist() for length in range(2, 7)]
    assert done == [[False]] * 4 + [[True]]


@pytest.mark.parametrize("num_steps", [1, 2, 3, 8])
def test_answers_that_leave_their_batch_early_change_no_other(model, monkeypatch, num_steps):
    limits = [1, 7, 4, 12]
    alone = [
        model.generate([prompt], max_new_tokens=limit)[0]
        for prompt, limit in zip(PROMPTS, limits, strict=True)
    ]
    monkeypatch.setattr(answering, "NUM_STEPS", num_steps)
    assert model.generate(PROMPTS, max_new_tokens=limits) == alone


def test_each_prompt_keeps_its_experts_when_others_leave_the_batch(model, monkeypatch):
    experts = [None, model.names[0], {model.names[0]: 0.5, model.names[1]: 0.5}, model.names[1]]
    limits = [2, 9, 3, 9]
    alone = [
        model.generate([prompt], experts=[choice], max_new_tokens=limit)[0]
        for prompt, choice, limit in zip(PROMPTS, experts, limits, strict=True)
    ]
    monkeypatch.setattr(answering, "NUM_STEPS", 2)
    assert model.generate(PROMPTS, experts=experts, max_new_tokens=limits) == alone


def test_sampled_answers_are_drawn_for_the_whole_batch(model, monkeypatch):
    monkeypatch.setattr(answering, "NUM_STEPS", 2)
    torch.manual_seed(0)
    first = model.generate(PROMPTS, max_new_tokens=6, temperature=1.0)
    monkeypatch.setattr(answering, "NUM_STEPS", 8)
    torch.manual_seed(0)
    assert model.generate(PROMPTS, max_new_tokens=6, temperature=1.0) == first


@pytest.mark.parametrize(
    "setting",
    [
        {"forced_eos_token_id": 0},
        {"encoder_repetition_penalty": 1.5},
        {"exponential_decay_length_penalty": (2, 1.5)},
        {"guidance_scale": 1.5},
        {"min_new_tokens": 4},
        {"min_length": 17},
    ],
)
@pytest.mark.filterwarnings("ignore:Unfeasible length")
def test_settings_that_count_from_the_end_of_the_prompt_are_not_counted_from_a_continuation(
    model, monkeypatch, setting
):
    """Answers are made in continuations of a few tokens each, at which such settings would begin again."""
    config = GenerationConfig(**setting)
    # Token 172 is frequent in the answers.
    model.model.generation_config.eos_token_id = [0, 172]
    limits = [3, 20, 12, 20]
    monkeypatch.setattr(answering, "NUM_STEPS", 100)
    expected = [
        model.generate([prompt], max_new_tokens=limit, generation_config=config)[0]
        for prompt, limit in zip(PROMPTS, limits, strict=True)
    ]
    monkeypatch.setattr(answering, "NUM_STEPS", 2)
    assert model.generate(PROMPTS, max_new_tokens=limits, generation_config=config) == expected


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_a_model_that_names_its_cache_answers_as_any_other(model, kind):
    expected = model.generate(PROMPTS, max_new_tokens=[3, 20, 12, 20])
    model.model.generation_config.cache_implementation = kind
    assert model.generate(PROMPTS, max_new_tokens=[3, 20, 12, 20]) == expected


def test_a_time_limit_ends_all_answers(model):
    config = GenerationConfig(max_time=1e-9)
    assert len(model.generate([[5, 6]], max_new_tokens=30, generation_config=config)[0]) <= 1
