import json

import pytest

from lorary.data.reply import Reply
from lorary.data.task import Example, Task
from lorary.data.templates import TEMPLATES, ChatTemplate, PlainTemplate, find_template
from lorary.errors import DataError

ASK = Example("What?", ("yes",))
TASK = Task("t", {"train": (ASK,)}, "Do it.")
TALK = Example("Really?", ("yes",), history=(("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello")))


def test_a_plain_prompt_is_definition_input_and_cue():
    assert PlainTemplate().render(TASK, ASK) == "Do it.\n\nWhat?\nAnswer:"
    assert PlainTemplate().reply(TASK, ASK, ["yes", ""]) == [Reply(" yes"), Reply("")]


def test_a_plain_prompt_can_do_without_the_definition():
    assert PlainTemplate(with_definition=False).render(TASK, ASK) == "What?\nAnswer:"
    assert PlainTemplate().render(Task("t", {"train": (ASK,)}), ASK) == "What?\nAnswer:"


def test_a_cue_can_be_the_templates_or_the_examples_or_none():
    assert PlainTemplate(cue="Output:").render(TASK, ASK).endswith("What?\nOutput:")
    assert PlainTemplate().render(TASK, Example("What?", ("a",), cue="So:")).endswith("What?\nSo:")
    assert PlainTemplate().render(TASK, Example("He went", ("a",), cue="")) == "Do it.\n\nHe went"


def test_a_plain_prompt_names_who_speaks_in_a_conversation():
    prompt = PlainTemplate(with_definition=False).render(TASK, TALK)
    assert prompt == "Be brief.\n\nUser: Hi\nAssistant: Hello\nUser: Really?\nAssistant:"


def test_an_instruction_before_a_single_question_is_a_paragraph_of_its_own():
    asked = Example("What?", ("yes",), history=(("system", "Be brief."),))
    assert PlainTemplate().render(TASK, asked) == "Do it.\n\nBe brief.\n\nWhat?\nAnswer:"


def test_a_chat_prompt_is_what_the_tokenizers_template_makes_of_the_turns(byte_tokenizer):
    prompt = ChatTemplate().render(TASK, ASK, byte_tokenizer)
    assert prompt == "<turn>user\nDo it.\n\nWhat?<end>\n<turn>assistant\n"
    assert (
        ChatTemplate(with_definition=False)
        .render(TASK, ASK, byte_tokenizer)
        .startswith("<turn>user\nWhat?<end>")
    )
    assert ChatTemplate().reply(TASK, ASK, ["yes"], byte_tokenizer) == [Reply("yes", ending="<end>\n")]


def test_a_chat_prompt_keeps_the_turns_before(byte_tokenizer):
    prompt = ChatTemplate(with_definition=False).render(TASK, TALK, byte_tokenizer)
    turns = ["<turn>system\nBe brief.", "<turn>user\nHi", "<turn>assistant\nHello", "<turn>user\nReally?"]
    assert prompt == "".join(turn + "<end>\n" for turn in turns) + "<turn>assistant\n"


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_puts_the_definition_in_or_leaves_it_out(name, byte_tokenizer):
    assert "Do it." in find_template(name).render(TASK, ASK, byte_tokenizer)
    assert "Do it." not in find_template(name, with_definition=False).render(TASK, ASK, byte_tokenizer)


def test_an_unknown_template_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"there is no template 'plane': did you mean 'plain'\?"):
        find_template("plane")


def test_a_chat_prompt_without_a_chat_template_is_refused(byte_tokenizer):
    with pytest.raises(ValueError, match="a chat template needs its tokenizer"):
        ChatTemplate().render(TASK, ASK)
    byte_tokenizer.chat_template = None
    with pytest.raises(DataError, match="has no chat template: use template 'plain'"):
        ChatTemplate().render(TASK, ASK, byte_tokenizer)


def test_a_conversation_that_the_chat_template_refuses_is_told_shortly(byte_tokenizer):
    """Guards against a traceback of the template engine for what a data file holds."""
    byte_tokenizer.chat_template = "{{ raise_exception('roles must alternate\x1b[2J' ~ 'x' * 100000) }}"
    with pytest.raises(DataError, match=r"refuses a conversation \(roles must alternate") as caught:
        ChatTemplate().render(TASK, ASK, byte_tokenizer)
    assert len(str(caught.value)) < 800 and str(caught.value).isprintable()


CALL = '{"tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]}'
TOOLS = '[{"type": "function", "function": {"name": "add"}}]'
ADD = Example("", ("2",), history=(("user", "Add."), ("assistant", "", CALL), ("tool", "2")), tools=TOOLS)


def test_a_plain_prompt_holds_tools_calls_and_results():
    assert PlainTemplate().render(TASK, ADD) == (
        'Do it.\n\nTools:\n{"name": "add"}\n\nUser: Add.\n'
        'Assistant: <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>\nTool: 2\nAssistant:'
    )


def test_a_chat_template_is_given_tools_and_whole_messages(byte_tokenizer):
    byte_tokenizer.chat_template = "{{ tools | tojson }}{% for m in messages %}{{ m | tojson }}{% endfor %}"
    prompt = ChatTemplate(with_definition=False).render(TASK, ADD, byte_tokenizer)
    messages = [
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": "", **json.loads(CALL)},
        {"role": "tool", "content": "2"},
    ]
    assert prompt == TOOLS + "".join(json.dumps(message) for message in messages)


def test_a_formats_own_prompt_stands_in_plain_prompts_only(byte_tokenizer):
    example = Example("Say hi.", ("Hi",), plain="### Instruction:\nSay hi.\n", cue="### Response:")
    prompt = PlainTemplate(with_definition=False).render(TASK, example)
    assert prompt == "### Instruction:\nSay hi.\n\n### Response:"
    assert "###" not in ChatTemplate().render(TASK, example, byte_tokenizer)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_text_has_no_prompt(name, byte_tokenizer):
    assert find_template(name).render(TASK, Example("", ("A fox.",)), byte_tokenizer) == ""
