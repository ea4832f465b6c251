"""Conversations of OpenAI's and ShareGPT's kind: every turn stands in the prompt or is the target."""

import json

import pytest

from lorary.data.readers.messages import read_messages
from lorary.data.readers.sharegpt import read_sharegpt
from lorary.data.turns import Turn

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
LOADED = {**CALL, "function": {"name": "add", "arguments": {"a": 1}}}
WRITTEN = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
ASK, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}


def read(*messages, **fields):
    return read_messages({"messages": list(messages), **fields})


def test_a_developer_speaks_as_the_system():
    example = read({"role": "developer", "content": "Be brief."}, ASK, ANSWER)
    assert example.history == (Turn("system", "Be brief."),)


def test_a_system_turn_may_be_answered():
    example = read({"role": "system", "content": "Say a colour."}, ANSWER)
    assert (example.input, example.history) == ("", (Turn("system", "Say a colour."),))


def test_a_call_of_tools_is_a_target_as_text_and_as_chat_templates_take_it():
    example = read(ASK, {"role": "assistant", "tool_calls": [CALL]}, tools=[{"name": "add"}])
    assert example.targets == (WRITTEN,)
    assert example.answer.message == {"role": "assistant", "content": "", "tool_calls": [LOADED]}
    assert json.loads(example.tools) == [{"type": "function", "function": {"name": "add"}}]


def test_what_an_assistant_says_beside_a_call_and_thinks_before_it_is_kept():
    said = {"role": "assistant", "content": "I add.", "reasoning_content": "Sum?", "tool_calls": [CALL]}
    assert read(ASK, said).targets == (f"<think>\nSum?\n</think>\nI add.\n{WRITTEN}",)


def test_the_result_of_a_tool_is_a_turn_and_may_be_empty():
    call, result = {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1"}
    example = read(ASK, call, {**result, "content": "2"}, ANSWER)
    assert example.input == ""
    assert [turn.role for turn in example.history] == ["user", "assistant", "tool"]
    assert example.history[2].message == {"role": "tool", "content": "2", "tool_call_id": "c1"}
    assert read(ASK, call, {**result, "content": ""}, ANSWER).history[2].text == ""


def test_texts_in_parts_are_put_together():
    parts = [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]
    assert read({"role": "user", "content": parts}, ANSWER).input == "One\ntwo"


def test_what_training_must_not_learn_is_no_target():
    later = [{"role": "user", "content": "So?"}, {"role": "assistant", "content": "No", "weight": 0}]
    assert read(ASK, ANSWER, *later).targets == ("Ho",)


def test_rows_of_tables_hold_all_fields_and_leave_most_without_a_value():
    empty = {"name": None, "tool_calls": None, "weight": None, "from": None, "value": None}
    assert read({**ASK, **empty}, {**ANSWER, **empty}) == read(ASK, ANSWER)
    assert read_messages({"messages": json.dumps([ASK, ANSWER])}) == read(ASK, ANSWER)


def test_shared_conversations_have_other_names_for_the_same():
    turns = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Hi"},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
        {"from": "observation", "value": "2"},
        {"from": "gpt", "value": "Ho"},
    ]
    example = read_sharegpt({"conversation": turns, "tools": '[{"name": "add"}]'})
    assert [turn.role for turn in example.history] == ["system", "user", "assistant", "tool"]
    assert example.history[2].plain == WRITTEN
    assert example.targets == ("Ho",) and example.tools
    assert read_sharegpt({"conversations": turns[1:2] + turns[4:], "system": "Be brief."}).history == (
        Turn("system", "Be brief."),
    )
    assert (
        read_sharegpt({"conversations": [{"from": "system", "value": ""}, turns[1], turns[4]]}).history == ()
    )


def test_questions_may_stand_together_with_their_answers():
    talk = [{"system": "Be brief.", "input": "Hi", "output": "Ho"}, {"input": "So?", "output": "Yes"}]
    example = read_sharegpt({"conversation": talk})
    assert (example.input, example.targets) == ("So?", ("Yes",))
    assert [turn[:2] for turn in example.history] == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Ho"),
    ]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]},
            "a part of type 'image_url'",
        ),
        ({"role": "user", "content": "<image>\nWhat is it?"}, "must be text only, found the mark '<image>'"),
        (
            {"role": "user", "content": "Hi", "images": ["x.png"]},
            r"'images' must be empty, found \['x.png'\]",
        ),
        ({"role": "user", "content": " "}, "'content' is empty"),
        ({"role": "assistant", "tool_calls": [{"function": {}}]}, "the call of a tool must have a name"),
        ({"role": [], "content": "x"}, "role must be one of"),
    ],
)
def test_a_message_that_is_no_text_is_refused(message, problem):
    with pytest.raises(ValueError, match=problem):
        read(ASK, message, ANSWER)


def test_tools_that_are_none_are_refused():
    with pytest.raises(ValueError, match="'tools' must be JSON"):
        read(ASK, ANSWER, tools="[{")
    with pytest.raises(ValueError, match="'tools' must be a list of objects"):
        read(ASK, ANSWER, tools=[3])
