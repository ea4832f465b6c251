"""Chat templates in the manner of well-known models: prompts, targets and choices as tokens."""

import pytest

from lorary.data import find_template
from lorary.data.chat_template import ChatTemplate
from lorary.data.conversation import expand_turns, list_messages, make_answer
from lorary.data.endings import find_turn_ending, list_endings
from lorary.data.task import Example, Task
from lorary.data.tokens import tokenize_answers, tokenize_examples
from lorary.data.turns import Turn
from lorary.errors import DataError
from tests.data.chat_templates import (
    ALWAYS_ASKING,
    BARE,
    CHATML,
    FORCED_THINKING,
    GEMMA,
    LLAMA,
    MISTRAL,
    NAMED,
    PHI,
    THINKING,
)
from tests.data.tokenized import tokenize_one

CHAT = ChatTemplate(with_definition=False)
ASK = Example("Is it?", ("yes",), ("yes", "no"))
TALK = Example("Sure?", ("yes",), history=(("user", "Is it?"), ("assistant", "no")))
TOLD = Example("Is it?", ("yes",), history=(("system", "Be brief."),))
THOUGHT = Example(
    "Is it?",
    ("<think>\nIt is.\n</think>\nyes",),
    answer=Turn("assistant", "yes", '{"reasoning_content": "It is."}'),
)
TASK = Task("t", {"train": (ASK,)})


def show(tokenizer, example, template=CHAT, **options):
    found = tokenize_one(tokenizer, template, TASK, example, max_length=999, **options)
    return tokenizer.decode(found.prompt_ids), tokenizer.decode(found.target_ids)


def show_choices(tokenizer, example=ASK, template=CHAT):
    found = tokenize_answers(tokenizer, template, TASK, example, example.choices, max_length=999)
    assert len({choice.prompt_ids for choice in found}) == 1
    return tokenizer.decode(found[0].prompt_ids), [tokenizer.decode(choice.target_ids) for choice in found]


@pytest.mark.parametrize("example", [ASK, TALK, THOUGHT], ids=["ask", "talk", "thought"])
@pytest.mark.parametrize("name", [name for name in NAMED if name != "forced thinking"])
def test_prompt_and_target_are_the_finished_conversation_up_to_the_answers_end(chat_tokenizer, name, example):
    """Guards against answers tokenised apart from what templates write around them."""
    chat_tokenizer.chat_template = NAMED[name]
    messages = list_messages(example)
    whole = chat_tokenizer.apply_chat_template(
        [*messages, make_answer(example, example.targets[0])], tokenize=False
    )
    asked = chat_tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt, target = show(chat_tokenizer, example)
    assert prompt == asked
    learnt = prompt + target
    assert whole.startswith(learnt) if name != "bare" else whole.strip() == learnt.removesuffix("<end>")
    assert "yes" not in whole[len(learnt) :]


@pytest.mark.parametrize(
    ("template", "target"),
    [
        (CHATML, "yes<|im_end|>"),
        (THINKING, "<think>\n\n</think>\n\nyes<|im_end|>"),
        (GEMMA, "yes<end_of_turn>"),
        (MISTRAL, " yes<end>"),
        (LLAMA, "yes<|eot_id|>"),
        (FORCED_THINKING, "yes<end>"),
        (PHI, "yes<|end|>"),
        (ALWAYS_ASKING, "yes<|im_end|>"),
        (BARE, "yes<end>"),
    ],
    ids=list(NAMED),
)
def test_a_target_ends_with_the_token_that_the_template_writes_after_it(chat_tokenizer, template, target):
    chat_tokenizer.chat_template = template
    assert show(chat_tokenizer, ASK)[1] == target
    opened, choices = show_choices(chat_tokenizer)
    opening, answer = ("", target) if template != THINKING else ("<think>\n\n</think>\n\n", "yes<|im_end|>")
    assert opened == show(chat_tokenizer, ASK)[0] + opening
    space = " " if template == MISTRAL else ""
    assert choices == [f"{space}yes", f"{space}no"]
    ended = tokenize_answers(chat_tokenizer, CHAT, TASK, ASK, ["yes"], max_length=999, eos=True)
    assert chat_tokenizer.decode(ended[0].target_ids) == answer
    assert show(chat_tokenizer, ASK, eos=False)[1] == f"{opening}{choices[0]}"


def test_template_arguments_reach_the_template(chat_tokenizer):
    chat_tokenizer.chat_template = THINKING
    off = find_template("chat", template_args={"enable_thinking": False})
    prompt, target = show(chat_tokenizer, ASK, off)
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert target == "yes<|im_end|>"
    assert show_choices(chat_tokenizer, template=off)[0] == prompt
    assert hash(off) is not None and "enable_thinking" in str(off)


def test_arguments_that_no_template_reads_are_refused(chat_tokenizer):
    chat_tokenizer.chat_template = THINKING
    with pytest.raises(DataError, match=r"does not read the argument 'enable_thinkin'.*'enable_thinking'"):
        show(chat_tokenizer, ASK, ChatTemplate(template_args={"enable_thinkin": False}))
    for name in ("message", "endif", "content"):
        with pytest.raises(DataError, match=f"argument '{name}': known are enable_thinking$"):
            show(chat_tokenizer, ASK, ChatTemplate(template_args={name: 1}))
    with pytest.raises(DataError, match="argument 'tools' is set from the data: leave it out"):
        show(chat_tokenizer, ASK, ChatTemplate(template_args={"tools": []}))
    with pytest.raises(ValueError, match=r"'plain' takes no arguments, found \['a'\]"):
        find_template("plain", template_args={"a": 1})


def test_reasoning_that_the_data_has_is_part_of_the_target(chat_tokenizer):
    chat_tokenizer.chat_template = THINKING
    prompt, target = show(chat_tokenizer, THOUGHT)
    assert prompt.endswith("assistant\n")
    assert target == "<think>\nIt is.\n</think>\n\nyes<|im_end|>"


@pytest.mark.parametrize("template", [GEMMA, MISTRAL], ids=["gemma", "mistral"])
def test_a_refused_system_turn_opens_the_users_first(chat_tokenizer, template):
    """Guards against a traceback, or a refused file, for the many conversations with a system turn."""
    chat_tokenizer.chat_template = template
    prompt, target = show(chat_tokenizer, TOLD)
    assert "Be brief.\n\nIs it?" in prompt and "system" not in prompt
    assert target == show(chat_tokenizer, ASK)[1]
    alone = Example("", ("yes",), history=(("system", "Be brief."),))
    assert "Be brief." in show(chat_tokenizer, alone)[0]
    found = tokenize_examples(chat_tokenizer, CHAT, TASK, [TOLD, ASK, TALK], max_length=999)
    assert (found.counts.num_merged, found.counts.num_rewritten) == (1, 0)


def test_a_system_turn_that_the_template_takes_stays_one(chat_tokenizer):
    chat_tokenizer.chat_template = CHATML
    assert show(chat_tokenizer, TOLD)[0].startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
    assert tokenize_examples(chat_tokenizer, CHAT, TASK, [TOLD], max_length=999).counts.num_merged == 0


def test_a_conversation_that_is_refused_without_its_system_turn_too_is_told_as_it_is(chat_tokenizer):
    chat_tokenizer.chat_template = "{{ raise_exception(messages[0].role ~ ' first') }}"
    with pytest.raises(DataError, match=r"refuses a conversation \(system first\)"):
        show(chat_tokenizer, TOLD)


def test_a_template_that_stumbles_is_told_and_one_that_hides_answers_refused(chat_tokenizer):
    chat_tokenizer.chat_template = "{{ messages[0].content + 1 }}"
    with pytest.raises(DataError, match=r"refuses a conversation \(.*: use template 'plain'"):
        show(chat_tokenizer, ASK)
    chat_tokenizer.chat_template = "{{ messages[0].content }}"
    with pytest.raises(DataError, match="must write the assistant's answers, but leaves them out"):
        show(chat_tokenizer, ASK)


def test_every_turn_of_a_conversation_is_learnt_as_generation_would_see_it(chat_tokenizer):
    chat_tokenizer.chat_template = THINKING
    first, last = expand_turns(TALK)
    assert show(chat_tokenizer, first)[1] == "<think>\n\n</think>\n\nno<|im_end|>"
    prompt, target = show(chat_tokenizer, last)
    assert prompt.endswith(
        "assistant\nno<|im_end|>\n<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert target == "<think>\n\n</think>\n\nyes<|im_end|>"


def test_a_prompt_that_the_finished_conversation_does_not_have_is_kept_and_counted(chat_tokenizer):
    chat_tokenizer.chat_template = FORCED_THINKING
    assert show(chat_tokenizer, ASK) == ("<|user|>Is it?<|assistant|><think>\n", "yes<end>")
    found = tokenize_examples(chat_tokenizer, CHAT, TASK, [ASK, TALK], max_length=999)
    assert (found.counts.num_rewritten, found.counts.num_merged) == (2, 0)


def test_calls_of_tools_end_as_the_template_ends_them(chat_tokenizer):
    chat_tokenizer.chat_template = LLAMA.replace(
        "{{ m.content | trim }}<|eot_id|>",
        "{% if m.tool_calls %}{{ m.tool_calls[0].function.name }}<|end|>"
        "{% else %}{{ m.content | trim }}<|eot_id|>{% endif %}",
    )
    call = '{"tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {}}}]}'
    plain = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
    example = Example("Add.", (plain,), answer=Turn("assistant", "", call))
    assert show(chat_tokenizer, example)[1] == "add<|end|>"
    assert show(chat_tokenizer, example, eos=False)[1] == "add"


def test_after_a_line_break_an_answer_has_no_space_that_the_tokenizer_adds(sentence_tokenizer):
    """Guards against '▁yes', which no model says after a line break."""
    sentence_tokenizer.chat_template = CHATML
    sentence_tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"])
    found = tokenize_one(sentence_tokenizer, CHAT, TASK, ASK, max_length=999)
    assert sentence_tokenizer.convert_ids_to_tokens(found.target_ids)[0] == "yes"
    whole = sentence_tokenizer.apply_chat_template(
        [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "yes"}], tokenize=False
    )
    ids = sentence_tokenizer(whole.removesuffix("\n"), add_special_tokens=False)["input_ids"]
    assert [*found.prompt_ids, *found.target_ids] == ids
    sentence_tokenizer.chat_template = MISTRAL
    found = tokenize_one(sentence_tokenizer, CHAT, TASK, ASK, max_length=999)
    assert sentence_tokenizer.convert_ids_to_tokens(found.target_ids) == ["▁yes", "</s>"]
    (choice, _) = tokenize_answers(sentence_tokenizer, CHAT, TASK, ASK, ASK.choices, max_length=999)
    assert sentence_tokenizer.convert_ids_to_tokens(choice.target_ids) == ["▁yes"]


def test_an_answer_that_would_change_the_prompts_tokens_leaves_them(chat_tokenizer):
    """An answer that opens with a line break would join the prompt's last one into a single token."""
    chat_tokenizer.chat_template = CHATML
    example = Example("Is it?", ("\nyes",))
    found = tokenize_one(chat_tokenizer, CHAT, TASK, example, max_length=999)
    prompt = tokenize_one(chat_tokenizer, CHAT, TASK, ASK, max_length=999).prompt_ids
    assert found.prompt_ids == prompt
    assert chat_tokenizer.decode(found.target_ids) == "\nyes<|im_end|>"


def test_answers_end_with_the_templates_token_and_the_tokenizers(chat_tokenizer):
    end, turn, eos = chat_tokenizer.convert_tokens_to_ids(["<end_of_turn>", "<|im_end|>", "<end>"])
    chat_tokenizer.chat_template = GEMMA
    assert find_turn_ending(chat_tokenizer) == end
    assert list_endings(chat_tokenizer) == sorted([eos, end])
    chat_tokenizer.chat_template = ALWAYS_ASKING
    assert find_turn_ending(chat_tokenizer) == turn
    for nothing in (BARE, "{{ raise_exception('no') }}", None):
        chat_tokenizer.chat_template = nothing
        assert find_turn_ending(chat_tokenizer) is None
        assert list_endings(chat_tokenizer) == [eos]


def test_a_template_that_leaves_out_tools_or_calls_is_refused(chat_tokenizer):
    """Guards a harm: a target that was a call became an empty answer, which taught silence."""
    chat_tokenizer.chat_template = CHATML
    call = '{"tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {}}}]}'
    turn = Turn("assistant", "", call)
    tools = '[{"type": "function", "function": {"name": "add", "parameters": {}}}]'
    with pytest.raises(DataError, match="leaves out the tool calls of a conversation: use template 'plain'"):
        show(chat_tokenizer, Example("Add.", (turn.plain,), answer=turn))
    with pytest.raises(DataError, match="leaves out the tool calls"):
        show(chat_tokenizer, Example("And?", ("3",), history=(Turn("user", "Add."), turn)))
    with pytest.raises(DataError, match="leaves out the tools of a conversation"):
        show(chat_tokenizer, Example("Add.", ("3",), tools=tools))
