from dataclasses import replace

import pytest
import torch

from lorary.assembly.prompts import encode_prompts, find_ending_ids, find_padding_id
from tests.data.sentence_tokenizer import build_sentence_tokenizer

CPU = torch.device("cpu")


def test_prompts_are_padded_on_the_left(base):
    found = encode_prompts(base, ["ab", [7, 8, 9]], CPU)
    a, b = base.tokenizer("ab")["input_ids"]
    assert found["input_ids"].tolist() == [[find_padding_id(base), a, b], [7, 8, 9]]
    assert found["attention_mask"].tolist() == [[0, 1, 1], [1, 1, 1]]


def test_an_answer_ends_at_what_the_model_or_the_tokenizer_says(base):
    assert find_ending_ids(base) == [base.tokenizer.eos_token_id]
    base.model.generation_config.eos_token_id = [5, 9]
    assert find_ending_ids(base) == [0, 5, 9]


def test_an_answer_ends_where_the_chat_template_ends_a_turn(base):
    base.tokenizer.add_tokens(["<end_of_turn>"])
    base.tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<end_of_turn>{% endfor %}"
    end = base.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert find_ending_ids(base) == [base.tokenizer.eos_token_id, end]


def test_a_prompt_has_no_end_that_the_tokenizer_adds(base):
    """Guards against answers to prompts that have ended already."""
    base.model.resize_token_embeddings(512, mean_resizing=False)
    ended = replace(base, given_tokenizer=build_sentence_tokenizer())
    (ids,) = encode_prompts(ended, ["yes"], CPU)["input_ids"].tolist()
    assert ended.tokenizer("yes")["input_ids"] == [*ids, 2]
    assert ended.tokenizer.convert_ids_to_tokens(ids) == ["<s>", "\u2581yes"]


def test_empty_prompts_are_refused(base):
    for prompts in ([], [""], ["ab", []]):
        with pytest.raises(ValueError, match="a prompt must have at least one token"):
            encode_prompts(base, prompts, CPU)


def test_the_ids_of_one_prompt_without_a_list_around_them_are_refused(base):
    with pytest.raises(ValueError, match=r"found 1: put the token ids of one prompt into a nested list"):
        encode_prompts(base, [1, 2, 3], torch.device("cpu"))


@pytest.mark.parametrize("wrong", [-1, 257, 0.5])
def test_token_ids_that_the_model_does_not_have_are_refused(base, wrong):
    """Regression: they failed within the embedding, which on a GPU ends the process."""
    with pytest.raises(ValueError, match="token ids must be whole numbers from 0 to 256, found"):
        encode_prompts(base, [[5, 6], [7, wrong]], CPU)
