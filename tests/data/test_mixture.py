import pytest

from lorary.data.mixture import mix_tasks
from lorary.data.task import Example, Task
from lorary.data.templates import PlainTemplate

A = Task(
    "a", {"train": (Example("1", ("x",)), Example("2", ("x",))), "test": (Example("3", ("x",)),)}, "Do a."
)
B = Task(
    "b", {"train": (Example("4", ("y",)),), "validation": (Example("5", ("y",)),)}, "Do b.", num_skipped=2
)


def test_a_mixture_prompts_each_example_as_its_own_task_does():
    mixed = mix_tasks({"a": A, "b": B}, "both")
    template = PlainTemplate()
    for split in ("train", "validation", "test"):
        own = [template.render(task, example) for task in (A, B) for example in task.splits.get(split, ())]
        assert [template.render(mixed, example) for example in mixed.split(split)] == own
    assert (mixed.name, mixed.num_examples, mixed.num_skipped, mixed.num_overlapping) == ("both", 5, 2, 0)


def test_a_mixture_trains_on_nothing_that_one_of_its_tasks_tests():
    other = Task("c", {"train": (Example("3 ", ("z",)), Example("6", ("z",)))})
    mixed = mix_tasks({"a": A, "c": other}, "both")
    assert [example.input for example in mixed.split("train")] == ["1", "2", "6"]
    assert [example.input for example in mixed.split("test")] == ["3"]
    assert mixed.num_overlapping == 1


def test_a_mixture_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one task to mix"):
        mix_tasks({}, "none")


def test_a_balanced_mixture_repeats_the_examples_of_small_tasks():
    mixed = mix_tasks({"a": A, "b": B}, "all", is_balanced=True)
    assert [example.input for example in mixed.splits["train"]] == ["1", "2", "4", "4"]
    assert mixed.splits["validation"] == mix_tasks({"a": A, "b": B}, "all").splits["validation"]
    empty = Task("c", {"test": (Example("2", ("x",)),)})
    assert [
        example.input for example in mix_tasks({"a": A, "c": empty}, "all", is_balanced=True).splits["train"]
    ] == ["1"]
