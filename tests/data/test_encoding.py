import pytest

from lorary.data.encoding import encode_answers, encode_prompt, encode_texts, find_ending, find_opening
from lorary.errors import DataError


def test_texts_encode_together_as_they_do_alone_and_without_special_tokens(bos_tokenizer):
    texts = ["abc", "a longer one", "ü"]
    alone = [bos_tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert encode_texts(bos_tokenizer, texts) == alone
    assert [len(ids) for ids in alone] == [3, 12, 2]
    assert encode_texts(bos_tokenizer, []) == []


def test_an_opening_is_found_only_where_the_tokenizer_puts_one(byte_tokenizer, bos_tokenizer):
    assert find_opening(byte_tokenizer) == []
    assert find_opening(bos_tokenizer) == [bos_tokenizer.bos_token_id]


def test_a_prompt_and_an_answer_join_to_what_they_are_together(byte_tokenizer, word_tokenizer):
    for tokenizer in (byte_tokenizer, word_tokenizer):
        prompt, whole = encode_texts(tokenizer, ["What? Answer:", "What? Answer: yes"])
        (answer,) = encode_answers(tokenizer, [" yes"])
        assert prompt + answer == whole


def test_a_text_that_follows_has_the_space_it_has_and_no_other(sentence_tokenizer):
    following = encode_answers(sentence_tokenizer, [" yes", "yes", "  yes", "\nno", ""])
    spelt = [sentence_tokenizer.convert_ids_to_tokens(ids) for ids in following]
    assert spelt == [["\u2581yes"], ["yes"], ["\u2581", "\u2581yes"], ["<0x0A>", "no"], []]


def test_a_prompt_opens_as_the_tokenizer_opens_it_and_does_not_end(sentence_tokenizer, bos_tokenizer):
    """Guards against the end-of-text token that some tokenizers put after every text."""
    assert sentence_tokenizer("yes")["input_ids"][-1] == sentence_tokenizer.eos_token_id
    ids = encode_prompt(sentence_tokenizer, "yes")
    assert sentence_tokenizer.convert_ids_to_tokens(ids) == ["<s>", "\u2581yes"]
    assert encode_prompt(bos_tokenizer, "abc") == bos_tokenizer("abc")["input_ids"]


def test_a_tokenizer_without_an_end_is_refused(byte_tokenizer):
    assert find_ending(byte_tokenizer) == byte_tokenizer.convert_tokens_to_ids("<end>")
    byte_tokenizer.eos_token = None
    with pytest.raises(DataError, match=r"must have an eos token to end answers, found none: set"):
        find_ending(byte_tokenizer)
