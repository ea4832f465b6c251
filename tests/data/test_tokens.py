import pytest

from lorary.data.task import Example, Task
from lorary.data.templates import ChatTemplate, PlainTemplate
from lorary.data.tokens import TokenizedExample, tokenize_answers, tokenize_examples
from lorary.errors import DataError
from tests.data.tokenized import tokenize_one

PLAIN = PlainTemplate(with_definition=False)
SHORT = Example("ab?", ("yes", "also"), ("yes", "never"))
LONG = Example("x" * 40, ("no",), ("no", "maybe"))
TASK = Task("letters", {"train": (SHORT, LONG)}, "Do it.")
# "ab?\nAnswer:" is 11 bytes, "x" * 40 + "\nAnswer:" 48; " yes" is 4, " no" 3, and <end> 1.


def text_of(tokenizer, example: TokenizedExample) -> tuple[str, str]:
    return tokenizer.decode(example.prompt_ids), tokenizer.decode(example.target_ids)


def test_prompt_and_target_decode_to_what_the_template_says(byte_tokenizer):
    found = tokenize_one(byte_tokenizer, PLAIN, TASK, SHORT, max_length=16)
    assert text_of(byte_tokenizer, found) == ("ab?\nAnswer:", " yes<end>")
    assert len(found) == 16
    assert found.num_cut == 0


def test_a_chat_prompts_special_tokens_are_ids_and_none_is_added(bos_tokenizer):
    found = tokenize_one(bos_tokenizer, ChatTemplate(), TASK, SHORT, max_length=99)
    assert text_of(bos_tokenizer, found) == ("<turn>user\nDo it.\n\nab?<end>\n<turn>assistant\n", "yes<end>")
    assert found.prompt_ids[0] == bos_tokenizer.convert_tokens_to_ids("<turn>")


def test_a_plain_prompt_opens_as_the_tokenizer_would_open_it(bos_tokenizer):
    found = tokenize_one(bos_tokenizer, PLAIN, TASK, SHORT, max_length=99)
    assert list(found.prompt_ids) == bos_tokenizer("ab?\nAnswer:")["input_ids"]


def test_many_examples_are_tokenised_as_each_alone_is(byte_tokenizer):
    found = tokenize_examples(byte_tokenizer, PLAIN, TASK, [SHORT, LONG], max_length=99)
    alone = [tokenize_one(byte_tokenizer, PLAIN, TASK, one, max_length=99) for one in (SHORT, LONG)]
    assert list(found.examples) == alone
    assert (found.indices, found.counts.num_cut, found.counts.num_skipped) == ((0, 1), 0, 0)
    assert tokenize_examples(byte_tokenizer, PLAIN, TASK, [], max_length=99).examples == ()


def test_the_end_can_be_left_off(byte_tokenizer):
    found = tokenize_one(byte_tokenizer, PLAIN, TASK, SHORT, max_length=99, eos=False)
    assert text_of(byte_tokenizer, found)[1] == " yes"


@pytest.mark.parametrize(
    ("truncation", "prompt"),
    [("prompt-left", "x" * 8 + "\nAnswer:"), ("prompt-middle", "x" * 8 + "\nAnswer:")],
)
def test_a_long_prompt_is_cut_to_the_limit_and_the_target_stays_whole(byte_tokenizer, truncation, prompt):
    found = tokenize_examples(
        byte_tokenizer, PLAIN, TASK, [SHORT, LONG], max_length=20, truncation=truncation
    )
    assert [len(example) for example in found.examples] == [16, 20]
    assert text_of(byte_tokenizer, found.examples[1]) == (prompt, " no<end>")
    assert found.examples[1].num_cut == 48 - 16
    assert (found.counts.num_cut, found.counts.num_skipped) == (1, 0)


def test_cutting_the_middle_keeps_the_definition(byte_tokenizer):
    found = tokenize_one(
        byte_tokenizer, PlainTemplate(), TASK, LONG, max_length=24, truncation="prompt-middle"
    )
    assert text_of(byte_tokenizer, found) == ("Do it.\n\nxxxx\nAnswer:", " no<end>")


def test_the_opening_survives_a_cut(bos_tokenizer):
    found = tokenize_one(bos_tokenizer, PLAIN, TASK, LONG, max_length=20, truncation="prompt-left")
    assert found.prompt_ids[0] == bos_tokenizer.bos_token_id
    assert len(found) == 20


def test_skipping_leaves_out_what_does_not_fit_and_says_what_stayed(byte_tokenizer):
    found = tokenize_examples(
        byte_tokenizer, PLAIN, TASK, [LONG, SHORT, LONG], max_length=20, truncation="skip"
    )
    assert text_of(byte_tokenizer, found.examples[0])[1] == " yes<end>"
    assert (found.indices, found.counts.num_cut, found.counts.num_skipped) == ((1,), 0, 2)


def test_choices_share_one_prompt_and_have_no_end(byte_tokenizer):
    first, second = tokenize_answers(byte_tokenizer, PLAIN, TASK, SHORT, SHORT.choices, max_length=17)
    assert text_of(byte_tokenizer, first) == ("ab?\nAnswer:", " yes")
    assert text_of(byte_tokenizer, second) == ("ab?\nAnswer:", " never")


def test_choices_of_different_length_get_a_prompt_cut_alike(byte_tokenizer):
    found = tokenize_answers(
        byte_tokenizer, PLAIN, TASK, LONG, LONG.choices, max_length=20, truncation="prompt-left"
    )
    assert {len(choice.prompt_ids) for choice in found} == {20 - len(" maybe")}
    assert len({choice.prompt_ids for choice in found}) == 1


def test_a_target_longer_than_the_limit_is_refused_even_where_prompts_are_cut(byte_tokenizer):
    example = Example("ab?", ("y" * 30,))
    message = r"task 'letters', example 'ab\?': .* fit in 20 tokens, found 11 of prompt and 32 of target"
    for truncation in ("error", "prompt-left", "prompt-middle"):
        with pytest.raises(DataError, match=message + ".*the target is never cut"):
            tokenize_one(byte_tokenizer, PLAIN, TASK, example, max_length=20, truncation=truncation)


def test_a_target_must_leave_room_for_a_token_that_predicts_it(byte_tokenizer):
    example = Example("ab?", ("y" * 6,))
    kept = tokenize_one(byte_tokenizer, PLAIN, TASK, example, max_length=9, truncation="prompt-left")
    assert text_of(byte_tokenizer, kept) == (":", " yyyyyy<end>")
    with pytest.raises(DataError, match="the target is never cut"):
        tokenize_one(byte_tokenizer, PLAIN, TASK, example, max_length=8, truncation="prompt-left")


def test_a_long_prompt_is_refused_unless_a_policy_says_otherwise(byte_tokenizer):
    with pytest.raises(
        DataError, match=r"found 48 of prompt and 4 of target, and truncation is 'error': raise"
    ):
        tokenize_one(byte_tokenizer, PLAIN, TASK, LONG, max_length=20)


@pytest.mark.parametrize(
    ("answers", "truncation", "found"), [(("yes",), "skip", "truncation 'skip'"), ((), "error", "no answer")]
)
def test_answers_need_a_policy_that_keeps_them_and_one_at_least(byte_tokenizer, answers, truncation, found):
    with pytest.raises(ValueError, match=f"needs answers and a policy that keeps them, not {found}"):
        tokenize_answers(byte_tokenizer, PLAIN, TASK, SHORT, answers, max_length=20, truncation=truncation)


def test_nothing_to_say_is_the_end_alone(byte_tokenizer):
    found = tokenize_one(byte_tokenizer, PLAIN, TASK, Example("ab?", ("",)), max_length=99)
    assert text_of(byte_tokenizer, found) == ("ab?\nAnswer:", "<end>")


@pytest.mark.parametrize("template", [PLAIN, PlainTemplate(), ChatTemplate()])
def test_all_tokens_of_a_text_are_targets(byte_tokenizer, bos_tokenizer, template):
    text = Example("", ("A fox.",))
    (found,) = tokenize_examples(byte_tokenizer, template, TASK, [text], max_length=99).examples
    assert text_of(byte_tokenizer, found) == ("<end>", "A fox.<end>")
    (found,) = tokenize_examples(bos_tokenizer, template, TASK, [text], max_length=99).examples
    assert text_of(bos_tokenizer, found) == ("<bos>", "A fox.<end>")
    byte_tokenizer.eos_token = None
    (found,) = tokenize_examples(byte_tokenizer, template, TASK, [text], max_length=99, eos=False).examples
    assert text_of(byte_tokenizer, found) == ("A", " fox.")


def test_a_long_text_is_cut_into_pieces_that_lose_nothing(byte_tokenizer):
    texts = [Example("", ("abcdefgh",)), SHORT, Example("", ("xyz",))]
    found = tokenize_examples(byte_tokenizer, PLAIN, TASK, texts, max_length=5, truncation="skip")
    pieces = [text_of(byte_tokenizer, piece) for piece in found.examples]
    assert pieces == [("<end>", "abcd"), ("d", "efgh"), ("h", "<end>"), ("<end>", "xyz<end>")]
    assert (found.indices, found.counts.num_skipped) == ((0, 0, 0, 2), 1)
