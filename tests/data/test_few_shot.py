import pytest

from lorary.data import Example, FewShotTemplate, PlainTemplate, Task, find_template, tokenize_examples
from lorary.data.turns import Turn
from lorary.errors import DataError
from tests.data.chat_templates import CHATML

TRAIN = tuple(Example(f"{n} + 1", (str(n + 1),)) for n in range(9))
ASKED = Example("20 + 1", ("21",))


@pytest.fixture
def task():
    return Task("sums", {"train": TRAIN, "test": (ASKED,)}, definition="Add.")


def test_training_examples_stand_before_a_prompt_with_the_definition_first(task):
    template = FewShotTemplate(template=PlainTemplate(), shots=2)
    first, second, asked = template.render(task, ASKED).split("\n\n", 1)[1].split("\n\n")
    assert template.render(task, ASKED).startswith("Add.\n\n") and asked == "20 + 1\nAnswer:"
    known = [f"{each.input}\nAnswer: {each.targets[0]}" for each in TRAIN]
    assert first in known and second in known and first != second
    assert [reply.text for reply in template.reply(task, ASKED, ["21"])] == [" 21"]


def test_a_prompt_is_never_among_its_own_examples(task):
    template = FewShotTemplate(template=PlainTemplate(), shots=8)
    for example in TRAIN:
        assert template.render(task, example).count(f"{example.input}\n") == 1


def test_a_seed_repeats_the_choice_and_another_one_gives_another(task):
    first, again, other = (
        FewShotTemplate(template=PlainTemplate(), shots=3, seed=seed).render(task, ASKED)
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_in_a_chat_they_are_earlier_turns_after_the_system_turn(task, byte_tokenizer):
    byte_tokenizer.chat_template = CHATML
    template = FewShotTemplate(template=find_template("chat", with_definition=False), shots=1)
    example = Example("20 + 1", ("21",), history=(Turn("system", "Be brief."),))
    prompt = template.render(task, example, byte_tokenizer)
    parts = [prompt.index(text) for text in ("Be brief.", " + 1<", "assistant", "20 + 1")]
    assert parts == sorted(parts)
    (tokens,) = tokenize_examples(byte_tokenizer, template, task, [example], max_length=512).examples
    assert len(tokens.prompt_ids) > len("Be brief.")


def test_a_task_without_training_questions_is_refused():
    template = FewShotTemplate(template=PlainTemplate(), shots=1)
    with pytest.raises(DataError, match="has no 'train' examples"):
        template.render(Task("sums", {"test": (ASKED,)}), ASKED)
    with pytest.raises(DataError, match="must have training examples with a question"):
        template.render(Task("sums", {"train": (Example("", ("a text",)),)}), ASKED)
    with pytest.raises(ValueError, match="shots must be at least 1, found 0"):
        FewShotTemplate(template=PlainTemplate(), shots=0)
