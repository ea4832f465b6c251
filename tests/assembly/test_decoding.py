"""Answers as texts that follow their prompts."""

import pytest
import torch

from lorary.assembly.decoding import decode_answers, list_prompts
from tests.data.sentence_tokenizer import build_sentence_tokenizer


@pytest.fixture
def tokenizer():
    return build_sentence_tokenizer()


def spell(tokenizer, *pieces):
    return tokenizer.convert_tokens_to_ids(list(pieces))


def decode(tokenizer, prompt, answer, endings=(2,)):
    (text,) = decode_answers(tokenizer, [prompt], [answer], endings)
    return text


@pytest.mark.parametrize("text", ["Is it? yes", "Is it?  yes", "Is it?yes", "Is it?\nyes no", "Is it?\n no"])
def test_prompt_and_answer_are_the_text_that_they_are_together(tokenizer, text):
    """Guards against the space before an answer, which SentencePiece tokenizers drop from a text's start."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    for place in range(1, len(ids)):
        prompt = tokenizer.decode(ids[:place])
        assert prompt + decode(tokenizer, ids[:place], ids[place:]) == text


def test_special_tokens_are_in_no_answer_and_hide_no_space(tokenizer):
    prompt = spell(tokenizer, "<s>", "\u2581no")
    assert decode(tokenizer, prompt, spell(tokenizer, "<s>", "\u2581yes", "</s>")) == " yes"
    assert decode(tokenizer, prompt, spell(tokenizer, "</s>")) == ""
    assert decode(tokenizer, prompt, []) == ""


def test_an_ending_that_is_not_marked_special_is_cut_and_stays_within_an_answer(tokenizer):
    tokenizer.add_tokens(["<end_of_turn>"])
    end, no = spell(tokenizer, "<end_of_turn>", "no")
    assert decode(tokenizer, [1, no], [no, end], endings=(2, end)) == "no"
    assert decode(tokenizer, [1, no], [no, end], endings=(2,)).endswith("<end_of_turn>")


def test_the_prompts_of_a_batch_are_listed_without_padding():
    inputs = {
        "input_ids": torch.tensor([[0, 0, 7], [5, 0, 6]]),
        "attention_mask": torch.tensor([[0, 0, 1], [1] * 3]),
    }
    assert list_prompts(inputs) == [[7], [5, 0, 6]]
