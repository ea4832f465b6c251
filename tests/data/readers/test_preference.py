"""Of rated answers the good ones are learnt, and the bad ones never."""

import pytest

from lorary.data.readers import read_task
from lorary.data.readers.preference import read_preference
from lorary.data.turns import Turn

ASK, GOOD = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}
SYSTEM = Turn("system", "Be brief.")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "Ho"},
        {"question": "Hi", "chosen": "Ho"},
        {"prompt": "Hi", "chosen": [ASK, GOOD]},
        {"prompt": "Hi", "chosen": [GOOD]},
        {"prompt": [ASK], "chosen": [GOOD]},
        {"chosen": [ASK, GOOD]},
        {"messages": [ASK], "chosen": GOOD},
        {"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "Ho"}},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Ho"},
    ],
)
def test_the_chosen_answer_is_the_target_whatever_its_form(row):
    example = read_preference({**row, "rejected": "No"})
    assert (example.input, example.targets, example.history) == ("Hi", ("Ho",), ())
    assert read_preference({**row, "system": "Be brief."}).history == (SYSTEM,)


def test_an_instruction_with_answers_has_alpacas_prompt():
    example = read_preference({"instruction": "Greet.", "input": "Al", "chosen": "Hi", "rejected": "No"})
    assert "### Instruction:\nGreet.\n\n### Input:\nAl" in example.plain
    assert example.targets == ("Hi",)


def test_rejected_answers_are_counted_and_stand_nowhere(write_rows):
    rows = [{"prompt": f"{number}?", "chosen": f"good {number}", "rejected": "bad"} for number in range(5)]
    task = read_task(write_rows(rows))
    assert (task.num_examples, task.num_rejected, task.formats, task.unused) == (5, 5, ("preference",), ())
    assert "bad" not in repr(task.splits)


def test_rows_marked_false_are_counted_and_stand_nowhere(write_rows):
    rows = [{"prompt": f"{n}?", "completion": ["bad", "good"][n % 2], "label": n % 2 == 1} for n in range(6)]
    task = read_task(write_rows(rows))
    assert (task.num_examples, task.num_rejected, task.formats) == (3, 3, ("kto",))
    assert "bad" not in repr(task.splits)


@pytest.mark.parametrize("labels", [(0, 1), (0.0, 1.0), ("0", "1"), (False, True)])
def test_numbers_are_labels_beside_the_fields_of_kto(write_rows, labels):
    """Guards a harm: answers that were marked 0 were trained on."""
    rows = [
        {"prompt": f"{n}?", "completion": ["bad", "good"][n % 2], "label": labels[n % 2]} for n in range(6)
    ]
    task = read_task(write_rows(rows))
    assert (task.num_examples, task.num_rejected, task.formats) == (3, 3, ("kto",))
    assert "bad" not in repr(task.splits)
