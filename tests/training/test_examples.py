from dataclasses import replace

import pytest

from lorary.data import Example, PlainTemplate, Task
from lorary.data.prompt_counts import PromptCounts
from lorary.errors import DataError
from lorary.training import TrainingExamples, prepare_examples


def task_of(name="letters", **splits):
    return Task(
        name,
        {split: tuple(Example(text, (target,)) for text, target in rows) for split, rows in splits.items()},
    )


ROWS = [("a b", "c"), ("d", "e f"), ("a b c d e f g h a b c d e f g h", "i")]


def test_training_and_validation_examples_become_tokens(tokenizer):
    task = task_of(train=ROWS, validation=ROWS[:2], test=ROWS[2:])
    found = prepare_examples(tokenizer, {"expert": task}, PlainTemplate())["expert"]
    assert found.tasks == ("letters",)
    assert [tokenizer.decode(example.target_ids) for example in found.train] == [
        "c <eos>",
        "e f <eos>",
        "i <eos>",
    ]
    assert [tokenizer.decode(example.target_ids) for example in found.validation] == ["c <eos>", "e f <eos>"]
    assert (found.counts.num_cut, found.counts.num_skipped) == (0, 0)


def test_long_examples_are_cut_or_left_out_and_counted(tokenizer):
    task = task_of(train=ROWS)
    cut = prepare_examples(tokenizer, {"x": task}, PlainTemplate(), max_length=12)["x"]
    assert (len(cut.train), cut.counts.num_cut, cut.counts.num_skipped) == (3, 1, 0)
    assert max(len(example) for example in cut.train) == 12
    skipped = prepare_examples(tokenizer, {"x": task}, PlainTemplate(), max_length=12, truncation="skip")["x"]
    assert (len(skipped.train), skipped.counts.num_cut, skipped.counts.num_skipped) == (2, 0, 1)


def test_validation_examples_are_the_first_few(tokenizer):
    task = task_of(train=ROWS, validation=ROWS)
    found = prepare_examples(tokenizer, {"x": task}, PlainTemplate(), max_validation_examples=1)["x"]
    assert [tokenizer.decode(example.target_ids) for example in found.validation] == ["c <eos>"]


def test_the_digest_knows_every_token_of_both_splits(make_examples):
    examples = make_examples(1, num_validation=3)
    first = examples.train[0]
    changed = [
        TrainingExamples(train=(replace(first, prompt_ids=(*first.prompt_ids, 5)), *examples.train[1:])),
        TrainingExamples(train=(replace(first, target_ids=(*first.target_ids, 5)), *examples.train[1:])),
        replace(examples, train=examples.train[1:]),
        replace(examples, validation=examples.validation[1:]),
    ]
    assert len({examples.digest, *(other.digest for other in changed)}) == 5
    assert replace(examples, counts=PromptCounts(num_cut=4)).digest == examples.digest


def test_a_task_without_training_examples_is_refused(tokenizer):
    message = r"task 'letters' must have training examples, found only splits \['test'\]"
    with pytest.raises(DataError, match=message):
        prepare_examples(tokenizer, {"x": task_of(test=ROWS)}, PlainTemplate())


def test_a_task_of_which_nothing_fits_is_refused(tokenizer):
    message = "task 'letters' must have a training example of at most 3 tokens, found none: raise"
    with pytest.raises(DataError, match=message):
        prepare_examples(
            tokenizer, {"x": task_of(train=ROWS)}, PlainTemplate(), max_length=3, truncation="skip"
        )
