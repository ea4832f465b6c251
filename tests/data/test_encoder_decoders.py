"""Prompts for an encoder and targets for a decoder: each as the tokenizer writes a text of its own."""

import pytest

from lorary.data import Example, Task, find_template, tokenize_examples
from lorary.data.encoding import encode_prompt
from lorary.data.tokens import tokenize_answers
from lorary.errors import DataError
from tests.encoder_decoders import build_tokenizer

TASK = Task("colours", {"train": (Example("sky", ("blue",), choices=("blue", "red")),)})
PLAIN = find_template("plain")
PAIR = {"is_encoder_decoder": True, "max_length": 64}


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_prompt_and_target_are_those_that_the_tokenizer_makes(kind):
    tokenizer = build_tokenizer(kind)
    (example,) = tokenize_examples(tokenizer, PLAIN, TASK, TASK.splits["train"], **PAIR).examples
    assert list(example.prompt_ids) == tokenizer("sky\nAnswer:")["input_ids"]
    assert list(example.target_ids) == tokenizer(text_target="blue")["input_ids"]
    assert encode_prompt(tokenizer, "sky", is_encoder_decoder=True) == tokenizer("sky")["input_ids"]


def test_choices_end_only_if_asked_to():
    tokenizer = build_tokenizer("bart")
    example = TASK.splits["train"][0]
    for eos, ending in ((False, []), (True, [tokenizer.eos_token_id])):
        blue, red = tokenize_answers(tokenizer, PLAIN, TASK, example, ["blue", "red"], eos=eos, **PAIR)
        bare = tokenizer("red", add_special_tokens=False)["input_ids"]
        assert list(red.target_ids) == [tokenizer.bos_token_id, *bare, *ending]
        assert blue.prompt_ids == red.prompt_ids


def test_a_prompt_that_is_cut_keeps_its_end():
    tokenizer = build_tokenizer("t5")
    task = Task("long", {"train": (Example("x" * 99, ("blue",)),)})
    for truncation in ("prompt-left", "prompt-middle"):
        (example,) = tokenize_examples(
            tokenizer, PLAIN, task, task.splits["train"], truncation=truncation, **PAIR
        ).examples
        assert len(example) == PAIR["max_length"]
        assert example.prompt_ids[-1] == tokenizer.eos_token_id
        whole = tokenizer("x" * 99 + "\nAnswer:")["input_ids"]
        assert len(example.prompt_ids) + example.num_cut == len(whole)


def test_a_plain_text_and_a_chat_template_are_refused():
    tokenizer = build_tokenizer("t5")
    task = Task("letters", {"train": (Example("", ("once upon a time",)),)})
    with pytest.raises(
        DataError, match="task 'letters' must have a question in each example for a base model"
    ):
        tokenize_examples(tokenizer, PLAIN, task, task.splits["train"], **PAIR)
    with pytest.raises(DataError, match="reads prompts without a chat template: use the template 'plain'"):
        tokenize_examples(tokenizer, find_template("chat"), TASK, TASK.splits["train"], **PAIR)
