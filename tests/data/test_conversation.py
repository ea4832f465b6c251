import pytest

from lorary.data.conversation import build_example, expand_turns, list_messages, load_tools, make_answer
from lorary.data.readers import read_task
from lorary.data.task import Example
from lorary.data.turns import Turn

TALK = [
    Turn("assistant", "Welcome."),
    Turn("user", "One?"),
    Turn("assistant", "1"),
    Turn("user", "Two?"),
    Turn("assistant", "bad", is_target=False),
    Turn("user", "Three?"),
    Turn("assistant", "3"),
    Turn("user", "Bye."),
]


def test_the_last_turn_that_may_be_learnt_is_the_target():
    example = build_example(TALK, '[{"name": "add"}]')
    assert (example.input, example.targets, len(example.history)) == ("Three?", ("3",), 5)
    assert load_tools(example) == [{"name": "add"}]


def test_every_turn_that_may_be_learnt_and_follows_another_can_be_an_example():
    found = expand_turns(build_example(TALK))
    assert [(example.input, example.targets) for example in found] == [("One?", ("1",)), ("Three?", ("3",))]
    assert found[0].history == (Turn("assistant", "Welcome."),)


def test_a_conversation_lies_in_one_split_with_all_its_turns(write_rows):
    rows = [
        {
            "messages": [
                {"role": role, "content": f"{number} {role} {turn}"}
                for turn in range(3)
                for role in ("user", "assistant")
            ]
        }
        for number in range(50)
    ]
    path = write_rows(rows)
    last, each = read_task(path), read_task(path, turns="all")
    assert each.num_examples == 3 * last.num_examples
    for split, examples in last.splits.items():
        talks = {example.input.split()[0] for example in examples}
        assert {example.input.split()[0] for example in each.split(split)} == talks


def test_messages_hold_every_turn_and_the_definition():
    example = Example("Two?", ("2",), history=(("system", "Be brief."), ("user", "One?"), ("assistant", "1")))
    messages = list_messages(example, "Count.")
    assert [message["content"] for message in messages] == ["Be brief.", "One?", "1", "Count.\n\nTwo?"]
    assert list_messages(Example("", ("2",), history=(("system", "Say 2."),)), "Count.") == [
        {"role": "system", "content": "Count.\n\nSay 2."}
    ]


def test_the_turns_of_a_long_conversation_are_shared_by_its_examples():
    """Guards a copy of every turn for every example, which took seconds for two thousand turns."""
    turns = [Turn(role, f"{role} {n}") for n in range(50) for role in ("user", "assistant")]
    examples = expand_turns(build_example(turns))
    assert len(examples) == 50 and all(one.history[0] is examples[-1].history[0] for one in examples[1:])


def test_an_answer_is_a_message_with_all_that_it_holds():
    answer = Turn("assistant", "Hm.", '{"tool_calls": [{"function": {"name": "add", "arguments": {}}}]}')
    example = build_example([Turn("user", "Add."), answer])
    assert make_answer(example, example.targets[0]) == answer.message
    assert make_answer(example, "No.") == {"role": "assistant", "content": "No."}


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([Turn("user", "Hi")], "found none"),
        ([Turn("user", "Hi"), Turn("assistant", "Ho", "", False)], "found none"),
        ([Turn("assistant", "Ho"), Turn("user", "Hi")], "it is the first"),
    ],
)
def test_a_conversation_without_an_answer_is_refused(turns, message):
    with pytest.raises(ValueError, match=message):
        build_example(turns)
