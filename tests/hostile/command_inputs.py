"""Files that commands of lorary read: libraries, options, tasks, recipes."""

import contextlib
import io
from pathlib import Path
from typing import NamedTuple

from lorary.cli import main
from tests.hostile.library_inputs import make_library
from tests.hostile.reader import LONGEST_MESSAGE, check_shown
from tests.hostile.task_inputs import write_lines
from tests.hostile.text_inputs import make_recipe_file


class Ran(NamedTuple):
    """What a command did."""

    code: int
    output: str
    errors: str


def run_command(*words: str) -> Ran:
    """Run ``lorary`` within this process."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(words)
    return Ran(code, output.getvalue(), errors.getvalue())


def check_ran(ran: Ran) -> None:
    """Assert that a command explained itself in clean text."""
    assert ran.code in (0, 2), f"exit code {ran.code}"
    # What `library verify` finds wrong is what it was asked for.
    assert ran.code == 0 or (ran.errors or ran.output).strip(), "an error without a word"
    check_shown(ran.output)
    check_shown(ran.errors, LONGEST_MESSAGE)


def run_all(*commands: tuple[str, ...]) -> Ran:
    """Run commands and check each; gives the one that went worst."""
    everything = [run_command(*words) for words in commands]
    for ran in everything:
        check_ran(ran)
    return max(everything, key=lambda ran: ran.code)


def look_at_library(folder: Path) -> Ran:
    """Run all commands that look at a library."""
    place = str(folder / "lib")
    return run_all(
        ("library", "ls", place),
        ("library", "ls", place, "--json"),
        ("library", "show", place, "poetry"),
        ("library", "verify", place),
        ("prototypes", place),
        ("merge", place, "--dry-run"),
    )


def add_to_library(folder: Path) -> Ran:
    """Add an adapter to a new library and show it."""
    place = str(folder / "new")
    return run_all(("library", "add", place, str(folder / "poetry")), ("library", "show", place, "poetry"))


def make_listing_options(folder: Path) -> None:
    """Write options of ``library ls`` in a file, and the library."""
    make_library(folder)
    (folder / "options.yaml").write_text("task: poetry task\nbase: tiny\njson: true\n")


def list_by_options(folder: Path) -> Ran:
    """List a library with options from a file."""
    return run_all(("library", "ls", str(folder / "lib"), "--config", str(folder / "options.yaml")))


def make_training_options(folder: Path) -> None:
    """Write options of ``train`` in a file, and a task."""
    write_lines("pair")(folder)
    (folder / "options.yaml").write_text(
        "groups:\n  both: [dates, prices]\n  one: [dates]\n"
        "max_length: 64\ntraining:\n  rank: 4\n  max_steps: 2\n  target_modules: [q_proj, v_proj]\n"
    )


def plan_training(folder: Path) -> Ran:
    """Go as far as ``train`` goes without a base model."""
    task = str(folder / "task.jsonl")
    options = ("--config", str(folder / "options.yaml"), "--tasks", f"dates={task}", f"prices={task}")
    return run_all(("train", str(folder / "lib"), *options, "--base", str(folder / "no-base")))


def make_training_settings(folder: Path) -> None:
    """Write how to train in a file of its own, and a task."""
    write_lines("pair")(folder)
    (folder / "training.yaml").write_text("rank: 4\nmax_steps: 2\ntarget_modules: [q_proj, v_proj]\n")


def plan_by_settings(folder: Path) -> Ran:
    """Go as far as ``train --training FILE`` goes without a base model."""
    words = ("train", str(folder / "lib"), "--tasks", str(folder / "task.jsonl"))
    return run_all((*words, "--training", str(folder / "training.yaml"), "--base", str(folder / "no-base")))


def make_task_folder(folder: Path) -> None:
    """Write a folder of task files."""
    (folder / "tasks").mkdir()
    for name in ("pair", "boolq"):
        write_lines(name)(folder)
        (folder / "task.jsonl").rename(folder / "tasks" / f"{name}.train.jsonl")


def train_task_folder(folder: Path) -> Ran:
    """Go as far as ``train`` goes on a folder of tasks without a base model."""
    return run_all(
        ("train", str(folder / "lib"), "--tasks", str(folder / "tasks"), "--base", str(folder / "no-base"))
    )


def make_merge_options(folder: Path) -> None:
    """Write a recipe beside a library."""
    make_library(folder)
    make_recipe_file(folder)


def merge_on_command(folder: Path) -> Ran:
    """Merge by a recipe from the command line."""
    words = ("merge", str(folder / "lib"), "--recipe", str(folder / "recipe.yaml"), "--out", "both")
    return run_all(words)
