"""A model that is loaded already works without its tokenizer, but for text."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from lorary.assembly import load_model, save_model
from lorary.assembly.prompts import find_ending_ids
from lorary.data import Example, PlainTemplate, Task
from lorary.errors import BaseModelError, LoraryError
from lorary.evaluation import EvalConfig, Route, evaluate

PLAIN = PlainTemplate()
PROMPTS = [[5, 6, 7, 8], [9, 10]]


@pytest.fixture
def bare(build_tiny_base, experts):
    """The experts on the base model, routed by Arrow; nobody gave a tokenizer."""
    return load_model(build_tiny_base().model, experts, router="arrow", top_k=3)


def test_logits_are_the_same(bare, model, input_ids):
    with torch.no_grad():
        assert torch.equal(bare(input_ids=input_ids).logits, model(input_ids=input_ids).logits)


def test_token_ids_are_answered_by_token_ids_that_read_as_the_text_with_a_tokenizer(bare, model):
    answers = bare.generate(PROMPTS, max_new_tokens=6)
    texts = model.tokenizer.batch_decode(answers, skip_special_tokens=True)
    assert texts == model.generate(PROMPTS, max_new_tokens=6)
    assert all(type(token) is int for row in answers for token in row)
    assert [bare.generate([prompt], max_new_tokens=6)[0] for prompt in PROMPTS] == answers


def test_an_answer_ends_with_the_ending_token_and_has_no_padding(bare, input_ids):
    (long,) = bare.generate(PROMPTS[:1], max_new_tokens=8)
    bare.model.generation_config.eos_token_id = long[2]
    first = long.index(long[2]) + 1
    answers = bare.generate(PROMPTS, max_new_tokens=8)
    assert answers[0] == long[:first]
    assert long[2] not in answers[1][:-1] and len(answers[1]) <= 8


@pytest.mark.parametrize("prompts", ["text", ["text", [5, 6]]])
def test_text_asks_for_the_tokenizer(bare, prompts):
    with pytest.raises(BaseModelError, match=r"none was passed, and none can be found .*tokenizer=Auto"):
        bare.generate(prompts)
    with pytest.raises(BaseModelError, match="none was passed"):
        bare.explain("text")


def test_a_tokenizer_that_lies_where_the_model_came_from_is_found(build_tiny_base, experts, model, tmp_path):
    base = build_tiny_base()
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    found = load_model(loaded, experts, router="arrow", top_k=3)
    assert found.generate("ab", max_new_tokens=6) == model.generate("ab", max_new_tokens=6)


def test_saving_the_base_model_asks_for_the_tokenizer_and_leaves_nothing(bare, tmp_path):
    with pytest.raises(LoraryError, match="none was passed"):
        save_model(bare, tmp_path / "saved", with_base=True)
    assert not (tmp_path / "saved").exists()
    save_model(bare, tmp_path / "saved")


def test_answers_are_evaluated_with_a_tokenizer_that_was_found(build_tiny_base, experts, tmp_path):
    """Regression: the answers came back as token ids, which no measure takes."""
    base = build_tiny_base()
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    task = Task("letters", {"test": (Example("a", ("b",)), Example("c", ("d",)))})
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    config = EvalConfig(metrics=("rouge_l", "exact_match"))
    results = [
        evaluate(
            load_model(each, experts, router=None), {"letters": task}, [Route(name="base")], PLAIN, config
        )
        for each in (loaded, base)
    ]
    assert results[0].scores == results[1].scores


def test_text_ends_at_the_ending_of_a_tokenizer_that_was_found(build_tiny_base, experts, tmp_path):
    """Regression: only the endings of a tokenizer that was passed counted, so answers went on after them."""
    base = build_tiny_base()
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    found = load_model(AutoModelForCausalLM.from_pretrained(tmp_path), experts, router=None)
    assert find_ending_ids(found.base) == []
    assert found.tokenizer.eos_token_id in find_ending_ids(found.base)
