import pytest

from lorary.data.readers.fields import Fields
from lorary.data.readers.formats import FORMATS, describe_formats, detect_format, find_format
from lorary.data.task import Example

LABELS = ["A", "B", "C"]
TEXTS = ["red", "green", "blue"]

# Row, its format, the example it must give.
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\nSay hi.\n"
)
ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\nSay hi.\n\n### "
    "Input:\nto Al\n"
)
CUE = "### Response:"

CASES = [
    ({"input": "Hi?", "target": "Ho"}, "pair", Example("Hi?", ("Ho",))),
    ({"input": "Hi?", "target": ["Ho", "Hu"]}, "pair", Example("Hi?", ("Ho", "Hu"))),
    ({"task": "t", "input": "Hi?", "target": "(A)", "idx": 0}, "pair", Example("Hi?", ("(A)",))),
    ({"prompt": "Say:\n", "completion": "Ho<|endoftext|>"}, "pair", Example("Say:", ("Ho",))),
    ({"question": "1+1?", "answer": "#### 2"}, "pair", Example("1+1?", ("#### 2",))),
    ({"text": "Write f.", "code": "def f():\r\n\tpass"}, "pair", Example("Write f.", ("def f():\n\tpass",))),
    ({"id": "1", "input": "Hi", "output": ["Ho", "Hu"]}, "natural-instructions", Example("Hi", ("Ho", "Hu"))),
    ({"input": "Hi", "output": "Ho"}, "natural-instructions", Example("Hi", ("Ho",))),
    (
        {"id": "1", "question": "Hue?", "choices": {"text": TEXTS, "label": LABELS}, "answerKey": "B"},
        "labelled-choices",
        Example("Hue?", ("green",), tuple(TEXTS)),
    ),
    (
        {"question_stem": "It is", "choices": {"text": TEXTS, "label": ["1", "2", "3"]}, "answerKey": "3"},
        "labelled-choices",
        Example("It is", ("blue",), tuple(TEXTS)),
    ),
    (
        {"question": "Hue?", "subject": "art", "choices": TEXTS, "answer": 0},
        "numbered-choices",
        Example("Hue?", ("red",), tuple(TEXTS)),
    ),
    (
        {
            "context": "Al fell.",
            "question": "Why?",
            "answerA": "x",
            "answerB": "y",
            "answerC": "z",
            "label": "2",
        },
        "social-i-qa",
        Example("Al fell.\nWhy?", ("y",), ("x", "y", "z")),
    ),
    (
        {"question": "is it so", "passage": "It is so.", "label": 1},
        "boolq",
        Example("It is so.\nQuestion: is it so?", ("yes",), ("no", "yes")),
    ),
    (
        {"question": "is it so?", "passage": "It is not.", "answer": False},
        "boolq",
        Example("It is not.\nQuestion: is it so?", ("no",), ("no", "yes")),
    ),
    (
        {"goal": "Dry a cup", "sol1": "towel ", "sol2": "rain", "label": 0},
        "piqa",
        Example("Goal: Dry a cup", ("towel",), ("towel", "rain")),
    ),
    (
        {"ctx": "He sat. he", "ctx_a": "He sat.", "ctx_b": "he", "endings": ["ran.", "rose."], "label": "1"},
        "hellaswag",
        Example("He sat. he", ("rose.",), ("ran.", "rose."), cue=""),
    ),
    (
        {"ctx_a": "He sat.", "ctx_b": "he", "endings": ["ran.", "rose."], "label": "0"},
        "hellaswag",
        Example("He sat. he", ("ran.",), ("ran.", "rose."), cue=""),
    ),
    (
        {
            "sentence": "The cup broke the jar; the _ was hard.",
            "option1": "cup",
            "option2": "jar",
            "answer": "1",
        },
        "winogrande",
        Example(
            "The cup broke the jar; the _ was hard.\nWhat does the _ stand for?", ("cup",), ("cup", "jar")
        ),
    ),
    (
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
        "messages",
        Example("Hi", ("Ho",)),
    ),
    (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
        "sharegpt",
        Example("Hi", ("Ho",)),
    ),
    (
        {"instruction": "Say hi.", "input": "", "output": "Hi"},
        "alpaca",
        Example("Say hi.", ("Hi",), plain=ALPACA, cue=CUE),
    ),
    (
        {"instruction": "Say hi.", "context": "to Al", "response": "Hi", "category": "talk"},
        "alpaca",
        Example("Say hi.\n\nto Al", ("Hi",), plain=ALPACA_INPUT, cue=CUE),
    ),
    (
        {"instruction": "Say hi.", "instances": [{"input": "", "output": "Hi"}]},
        "self-instruct",
        Example("Say hi.", ("Hi",), plain=ALPACA, cue=CUE),
    ),
    (
        {"question": "Hue?", "context": "It is red.", "answer": "red"},
        "pair",
        Example("It is red.\n\nHue?", ("red",)),
    ),
    (
        {"question": "Hue?", "context": "It is red.", "sql": "x"},
        "pair",
        Example("It is red.\n\nHue?", ("x",)),
    ),
    (
        {"system": "Be brief.", "prompt": "Hue?", "completion": "red"},
        "pair",
        Example("Hue?", ("red",), history=(("system", "Be brief."),)),
    ),
    ({"Prompt": "Hi?", "Completion": "Ho"}, "pair", Example("Hi?", ("Ho",))),
    (
        {"definition": "Greet.", "inputs": "Hi", "targets": "Ho"},
        "pair",
        Example("Hi", ("Ho",), definition="Greet."),
    ),
    (
        {"question": "Hue?", "context": "Red.", "answers": {"text": ["red", "red"], "answer_start": [0, 0]}},
        "squad",
        Example("Red.\n\nHue?", ("red",)),
    ),
    ({"prompt": "3 x 3?", "chosen": "9", "rejected": "6"}, "preference", Example("3 x 3?", ("9",))),
    (
        {
            "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
            "label": True,
        },
        "kto",
        Example("Hi", ("Ho",)),
    ),
    ({"prompt": "Hi", "completion": "Ho", "label": "True"}, "kto", Example("Hi", ("Ho",))),
    ({"text": "A fox.", "url": "x"}, "text", Example("", ("A fox.",))),
]


@pytest.mark.parametrize(
    ("row", "name", "example"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_row_is_known_by_its_fields_and_read_as_it_should_be(row, name, example):
    assert detect_format(Fields(row)) == name
    (part,) = FORMATS[name].part(Fields(row))
    assert FORMATS[name].read(part) == example


def test_every_format_has_a_case():
    assert {name for _, name, _ in CASES} == set(FORMATS)


@pytest.mark.parametrize("note", describe_formats(), ids=lambda note: note.name)
def test_every_formats_own_example_is_read_by_it(note):
    assert detect_format(note.example) == note.name
    assert [FORMATS[note.name].read(part) for part in FORMATS[note.name].part(note.example)]
    assert note.keys and note.meaning


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_refuses_a_row_of_another_kind_with_a_message(name):
    with pytest.raises(ValueError, match=r"must|missing"):
        FORMATS[name].read({"colour": "red"})


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("row", [{"colour": "red"}, {f"a long name of column {n}": "x" for n in range(30)}])
def test_every_refusal_of_a_row_fits_on_a_few_lines(name, row):
    """Guards messages that list every field that some format has."""
    with pytest.raises(ValueError, match=r"must|missing") as caught:
        FORMATS[name].read(row)
    assert len(str(caught.value)) <= 180 + sum(len(repr(key)) + 2 for key in list(row)[:10])


# What test sets without answers, and careless rows, look like.
BAD = [
    (
        "labelled-choices",
        {"question": "?", "choices": {"text": TEXTS, "label": LABELS}, "answerKey": ""},
        "not ''",
    ),
    (
        "labelled-choices",
        {"question": "?", "choices": {"text": TEXTS, "label": ["A"]}, "answerKey": "A"},
        "1 and 3",
    ),
    ("numbered-choices", {"question": "?", "choices": TEXTS, "answer": 3}, "from 0 to 2, not 3"),
    ("boolq", {"question": "?", "passage": "p", "label": -1}, "from 0 to 1, not -1"),
    ("piqa", {"goal": "g", "sol1": "a", "sol2": "b", "label": -1}, "not -1"),
    ("hellaswag", {"ctx": "c", "endings": ["a", "b"], "label": ""}, "not ''"),
    ("winogrande", {"sentence": "no gap", "option1": "a", "option2": "b", "answer": "1"}, "gap written '_'"),
    ("winogrande", {"sentence": "a _", "option1": "a", "option2": "b", "answer": ""}, "from 1 to 2, not ''"),
    ("natural-instructions", {"input": "a", "output": []}, "must be a list of texts"),
    ("natural-instructions", {"input": "a", "output": ""}, "'output' is empty"),
    ("alpaca", {"instruction": "a", "output": ""}, "'output' is empty"),
    ("alpaca", {"instruction": "", "input": "", "output": "a"}, "'instruction' is missing or empty"),
    ("alpaca", {"instruction": "a", "output": "b", "history": [["c"]]}, r"'history' must be a list of \["),
    ("self-instruct", {"instruction": "a", "instances": [3]}, "must be a list of {'input', 'output'}"),
    ("squad", {"question": "a", "context": "b", "answers": {"text": []}}, "found an empty list"),
    ("preference", {"chosen": "a", "rejected": "b"}, "a row with 'chosen' must also have one of"),
    ("kto", {"prompt": "a", "completion": "b", "label": 3}, "'label' must be true or false, not 3"),
    ("kto", {"label": True}, "must also have the fields of messages, sharegpt, alpaca or pair"),
    ("text", {"text": " "}, "'text' is empty"),
    ("pair", {"input": "a", "target": []}, "found an empty list"),
    ("pair", {"prompt": "a", "completion": "<|endoftext|>"}, "'completion' is empty"),
    ("messages", {"messages": [{"role": "user", "content": "Hi"}]}, "found none"),
]


@pytest.mark.parametrize(("name", "row", "message"), BAD)
def test_a_row_without_a_right_answer_is_refused(name, row, message):
    with pytest.raises(ValueError, match=message):
        [FORMATS[name].read(part) for part in FORMATS[name].part(row)]


def test_a_row_of_no_known_kind_is_refused_with_its_fields_and_what_can_be_done():
    with pytest.raises(
        ValueError, match=r"its fields are 'metadata', 'document': map .* --columns .* the formats .*piqa"
    ):
        detect_format({"metadata": 1, "document": "x"})
    for row, columns in (
        ({"id": 1, "review": "x", "stars": "y"}, "input=review target=stars"),
        ({"a b": "x", "c": "y"}, "input=question target=answer"),
    ):
        with pytest.raises(ValueError, match=f"as in --columns {columns}, or"):
            detect_format(Fields(row))


def test_an_unknown_format_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"there is no format 'bolq': did you mean 'boolq'\?"):
        find_format("bolq")
