"""The options for the tasks of a library's skills."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace

from lorary.cli.printing import print_line

if TYPE_CHECKING:
    from lorary.assembly import RoutedModel

OTHERS = ("expert", "router", "include", "combine")


def add_skill_options(parser: ArgumentParser) -> None:
    """Add the task of a prompt, and the set of skills."""
    parser.add_argument(
        "--task", type=str | None, help="Use the library's skills, with the weights of this task"
    )
    parser.add_argument(
        "--new-task",
        type=Literal["mean", "nearest"] | None,
        help="Use the library's skills for a task that is not in their table: with the mean of "
        "all tasks, or as the task whose training prompts are most similar",
    )
    parser.add_argument(
        "--skills", type=str | None, help="Any skill of the set to use, if the library has several sets"
    )


def is_for_task(options: Namespace) -> bool:
    """Return whether the skills of the library are used."""
    return options.task is not None or options.new_task is not None


def check_skill_options(options: Namespace) -> None:
    """Refuse options that exclude each other.

    Raises:
        ValueError: with all of them.
    """
    if not is_for_task(options):
        if options.skills is not None:
            raise ValueError("--skills names the skills of a task: add --task or --new-task, or leave it out")
        return
    wrong = [f"--{name}" for name in OTHERS if options.get(name)]
    wrong += ["--show-experts"] if options.show_experts else []
    wrong += ["--new-task"] if options.task is not None and options.new_task is not None else []
    if wrong:
        named = "--task" if options.task is not None else "--new-task"
        raise ValueError(f"{named} already sets the experts: leave out {', '.join(wrong)}")


def choose_task(model: "RoutedModel", prompt_ids: Sequence[int], options: Namespace) -> dict[str, str | None]:
    """Return the choice of experts for the task of the options, and print the nearest task."""
    if options.new_task != "nearest":
        return {"task": options.task}
    (task,) = model.nearest_tasks([prompt_ids])
    print_line(f"note: the nearest task is {task}", stderr=True)
    return {"task": task}
