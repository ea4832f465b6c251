import pytest

from lorary.data.task import Example, Task
from lorary.errors import DataError


def test_a_task_hands_out_its_splits_and_counts_their_examples():
    train, test = (Example("a", ("1",)), Example("b", ("2",))), (Example("c", ("3",)),)
    task = Task("letters", {"train": train, "test": test})
    assert task.split("train") == train
    assert task.split("test") == test
    assert task.num_examples == 3


def test_a_task_does_not_change_when_the_mapping_it_was_built_from_does():
    splits = {"train": (Example("a", ("1",)),)}
    task = Task("letters", splits)
    splits["test"] = (Example("b", ("2",)),)
    assert list(task.splits) == ["train"]


def test_an_examples_own_definition_wins_over_its_tasks():
    task = Task("t", {"train": (Example("a", ("1",)),)}, "the task's")
    assert task.definition_of(Example("a", ("1",))) == "the task's"
    assert task.definition_of(Example("a", ("1",), definition="its own")) == "its own"
    assert task.definition_of(Example("a", ("1",), definition="")) == ""


def test_an_empty_split_is_refused_with_what_there_is():
    task = Task("letters", {"train": (Example("a", ("1",)),), "test": ()})
    with pytest.raises(DataError, match=r"task 'letters' has no 'test' examples, only train \(1\)"):
        task.split("test")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": " ", "targets": ("1",)}, "input must have text"),
        ({"input": "a", "targets": ()}, "at least one target"),
        ({"input": "a", "targets": "yes"}, "at least one target, not 'yes'"),
        ({"input": "a", "targets": ("1", " ")}, "every target must have text"),
        ({"input": "a", "targets": ("1",), "choices": ("1",)}, "two or more texts"),
        ({"input": "a", "targets": ("1",), "choices": ["1", "2"]}, "must be a tuple"),
        ({"input": "a", "targets": ("3",), "choices": ("1", "2")}, "must be one of the choices .* not '3'"),
        (
            {"input": "a", "targets": ("1",), "history": (("robot", "x"),)},
            "role must be one of .* not 'robot'",
        ),
    ],
)
def test_an_example_that_cannot_be_used_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Example(**fields)


@pytest.mark.parametrize(
    ("name", "splits", "message"),
    [
        ("", {"train": (Example("a", ("1",)),)}, "must have a name"),
        ("t", {"dev": (Example("a", ("1",)),)}, r"splits must be among .* not \['dev'\]"),
        ("t", {"train": ()}, "task 't' must have at least one example"),
    ],
)
def test_a_task_that_cannot_be_used_is_refused(name, splits, message):
    with pytest.raises(ValueError, match=message):
        Task(name, splits)


@pytest.mark.parametrize("fields", [{"input": 3}, {"definition": ["x"]}, {"cue": 1}])
def test_an_example_of_other_types_is_refused(fields):
    with pytest.raises(TypeError, match="input, definition and cue must be text, found"):
        Example(**{"input": "a", "targets": ("1",), **fields})
    for other in ({"targets": (1,)}, {"choices": ("1", 2)}):
        with pytest.raises(ValueError, match="must"):
            Example(**{"input": "a", "targets": ("1",), **other})
