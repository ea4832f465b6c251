import pytest

from lorary.data.readers.messages import read_messages
from lorary.data.turns import Turn


def talk(*turns):
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def test_the_last_answer_is_the_target_and_earlier_turns_are_history():
    turns = [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Ho"),
        ("user", "So?"),
        ("assistant", "Yes"),
    ]
    example = read_messages(talk(*turns))
    assert (example.input, example.targets, example.history) == (
        "So?",
        ("Yes",),
        tuple(Turn(*turn) for turn in turns[:3]),
    )


def test_what_comes_after_the_last_answer_is_left_out():
    example = read_messages(talk(("user", "Hi"), ("assistant", "Ho"), ("user", "Bye")))
    assert (example.input, example.targets, example.history) == ("Hi", ("Ho",), ())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (talk(("assistant", "Ho")), "must follow another turn, but it is the first"),
        (talk(("user", "Hi")), "found none"),
        (talk(("user", "Hi"), ("robot", "7"), ("assistant", "Ho")), "role must be one of .* not 'robot'"),
        (talk(("user", "Hi"), ("assistant", None)), "'content' must be text, not None"),
        ({"messages": [{"from": "user"}]}, "must have 'role' and 'content'"),
        ({"messages": "Hi"}, "must be a list"),
    ],
)
def test_a_conversation_without_an_answer_is_refused(row, message):
    with pytest.raises(ValueError, match=message):
        read_messages(row)
