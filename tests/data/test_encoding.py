import pytest

from lorary.data.encoding import encode_answers, encode_texts, find_ending, find_opening
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


def test_a_tokenizer_without_an_end_is_refused(byte_tokenizer):
    assert find_ending(byte_tokenizer) == byte_tokenizer.convert_tokens_to_ids("<end>")
    byte_tokenizer.eos_token = None
    with pytest.raises(DataError, match=r"must have an eos token to end answers, it has none: set"):
        find_ending(byte_tokenizer)
