import pytest

from lorary.data.turns import drop_thoughts


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("<think>\n\n</think>\n\nyes", "\n\nyes"),
        ("\n<think>a</think>b</think>c", "b</think>c"),
        ("<think>\nno end", ""),
        ("yes <think>a</think>", "yes <think>a</think>"),
        ("", ""),
    ],
)
def test_thoughts_that_an_answer_opens_with_are_left_out(answer, said):
    assert drop_thoughts(answer) == said
