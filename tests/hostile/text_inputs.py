"""Task files, recipes, results and files of options."""

import contextlib
import gzip
import io
import json
import lzma
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet

from lorary.cli import main
from lorary.cli.commands.quickstart.outcome import Outcome, load_outcome, save_outcome
from lorary.cli.commands.quickstart.plan import QuickstartPlan
from lorary.data import Task, read_task
from lorary.evaluation import Result
from lorary.experts import Expert
from lorary.reports import RoutedSample, RoutedToken, render_markdown, render_table, result_grid
from lorary.transforms import merge_by_recipe, read_recipe
from tests.hostile.library_inputs import make_library
from tests.hostile.reader import LONGEST_MESSAGE, check_shown, check_text
from tests.hostile.tiny import draw_experts

# One row of every format; further ones are made by changing its question.
ROWS: dict[str, dict[str, Any]] = {
    "messages": {
        "messages": [{"role": "user", "content": "Hi q0"}, {"role": "assistant", "content": "Ho"}],
    },
    "labelled-choices": {
        "question": "Hue q0?",
        "choices": {"text": ["red", "green"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    "numbered-choices": {"question": "Hue q0?", "choices": ["red", "green"], "answer": 0},
    "social-i-qa": {
        "context": "Al fell q0.",
        "question": "Why?",
        "answerA": "x",
        "answerB": "y",
        "answerC": "z",
        "label": "2",
    },
    "boolq": {"question": "is it q0", "passage": "It is so.", "answer": True},
    "piqa": {"goal": "Dry cup q0", "sol1": "towel", "sol2": "rain", "label": 0},
    "hellaswag": {"ctx": "He sat q0. he", "endings": ["ran.", "rose."], "label": "1"},
    "winogrande": {"sentence": "The cup q0; the _ fell.", "option1": "cup", "option2": "jar", "answer": "1"},
    "pair": {"input": "Hi q0?", "target": ["Ho", "Hu"]},
    "natural-instructions": {"id": "0", "input": "Hi q0", "output": ["Ho"]},
    "sharegpt": {
        "conversations": [
            {"from": "human", "value": "Hi q0"},
            {"from": "function_call", "value": '{"name": "add", "arguments": {}}'},
            {"from": "observation", "value": "2"},
            {"from": "gpt", "value": "Ho"},
        ],
        "tools": '[{"name": "add"}]',
    },
    "squad": {"context": "Red q0.", "question": "Hue?", "answers": {"text": ["red"]}},
    "self-instruct": {"instruction": "Greet.", "instances": [{"input": "q0", "output": "Hi"}]},
    "alpaca": {"instruction": "Greet q0.", "input": "", "output": "Hi", "history": [["Who?", "Al"]]},
    "preference": {"prompt": "Hi q0", "chosen": [{"role": "assistant", "content": "Ho"}], "rejected": "No"},
    "kto": {"prompt": "Hi q0", "completion": "Ho", "label": True},
    "text": {"text": "A fox q0."},
}


def list_rows(name: str) -> list[dict[str, Any]]:
    """Give a few different rows of a format."""
    text = json.dumps(ROWS[name])
    return [json.loads(text.replace("q0", f"q{number}")) for number in range(6)]


def write_lines(
    name: str, pack: Callable[[bytes], bytes] = bytes, suffix: str = ""
) -> Callable[[Path], None]:
    """Make JSON lines of a format, packed."""

    def make(folder: Path) -> None:
        lines = "".join(json.dumps(row) + "\n" for row in list_rows(name))
        (folder / f"task.jsonl{suffix}").write_bytes(pack(lines.encode()))

    return make


def write_list(folder: Path) -> None:
    """Make one JSON document, a list of rows."""
    (folder / "task.json").write_text(json.dumps(list_rows("pair"), indent=1))


def write_document(folder: Path) -> None:
    """Make a Super-NaturalInstructions task."""
    document = {"Definition": ["Greet."], "Instances": list_rows("natural-instructions")}
    (folder / "task.json").write_text(json.dumps(document))


def write_pretty(folder: Path) -> None:
    """Make one row over several lines."""
    (folder / "task.json").write_text(json.dumps(list_rows("sharegpt")[0], indent=1))


def write_table(folder: Path) -> None:
    """Make a table of texts."""
    lines = ["question,context,answer", *(f'q{number},"It is ""red"", {number}.",red' for number in range(6))]
    (folder / "task.csv").write_text("\n".join(lines) + "\n")


def write_parquet(folder: Path) -> None:
    """Make a Parquet file of conversations."""
    rows = pyarrow.Table.from_pylist(list_rows("messages"))
    pyarrow.parquet.write_table(rows, folder / "task.parquet")


PACKS: Mapping[str, tuple[Callable[[bytes], bytes], str]] = {
    "gz": (gzip.compress, ".gz"),
    "xz": (lzma.compress, ".xz"),
}


def read_task_at(name: str) -> Callable[[Path], Task]:
    """Read a task from the file of a name."""
    return lambda folder: read_task(folder / name)


def check_task(task: Task) -> None:
    """Assert that every example is text with an answer."""
    check_text(task.name, task.definition)
    assert task.num_examples
    for examples in task.splits.values():
        for example in examples:
            check_text(example.input, *example.targets, *(example.choices or ()))
            check_text(example.tools, *(text for turn in example.history for text in turn[:3]))


RECIPE = """
merge_method: ties
models:
  - model: law
    parameters: {weight: 0.5, density: 0.4}
  - model: poetry
    parameters:
      weight: [0.2, 0.8]
parameters:
  scale: 1.5
  density:
    - {filter: q_proj, value: 0.5}
    - value: 0.3
dtype: float32
rank: 2
"""


def make_recipe_file(folder: Path) -> None:
    """Write a recipe with every kind of setting."""
    (folder / "recipe.yaml").write_text(RECIPE)


def read_and_merge(folder: Path) -> Expert:
    """Read a recipe and do what it says."""
    return merge_by_recipe(draw_experts(), read_recipe(folder / "recipe.yaml"))


def make_result(folder: Path) -> None:
    """Write a result of two tasks and routes."""
    scores = {
        (task, route, metric): (0.5, 0.25, 1.0)
        for task in ("dates", "prices")
        for route in ("base", "arrow")
        for metric in ("loss", "exact_match")
    }
    header = {"seeds": {"data": 0}, "packages": {"torch": "2"}}
    Result(
        scores,
        (header,),
        {"usage": {"arrow": {"dates": [0.5, 0.5]}}},
        example_ids={(task, metric): ("a1", "b2", "c3") for task, _, metric in scores},
    ).to_json(folder / "result.json")


def read_result_file(folder: Path) -> Result:
    """Read a result."""
    return Result.from_json(folder / "result.json")


def check_result(result: Result) -> None:
    """Assert that its pages can be written."""
    for metric in result.metrics:
        render_table(result_grid(result, metric))
        check_text(render_markdown(result_grid(result, metric, 3)))
    check_text(*result.tasks, *result.routes)


def make_outcome(folder: Path) -> None:
    """Write what a quickstart keeps."""
    make_result(folder)
    token = RoutedToken("hi", (("prices", 0.5), ("iso_dates", 0.5)))
    outcome = Outcome(read_result_file(folder), (RoutedSample("dates", (token,), (token,)),), 1.5)
    save_outcome(QuickstartPlan(), outcome, folder)


def read_outcome(folder: Path) -> Outcome | None:
    """Read what a quickstart kept."""
    return load_outcome(QuickstartPlan(), folder)


def check_outcome(outcome: Outcome | None) -> None:
    """Assert that it can be shown; none means that the quickstart runs again."""
    if outcome is None:
        return
    check_result(outcome.result)
    assert isinstance(outcome.seconds, int | float)
    for sample in outcome.samples:
        for token in (*sample.prompt, *sample.answer):
            check_text(token.text, *(name for name, _ in token.experts))


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
