"""Show how task files are read: formats, counts, and an example as the model sees it.

In the example, lines of the prompt begin with '|' and lines of the target with '>'. With --base the example
is decoded from that model's tokens, as in training.
"""

from collections.abc import Iterator
from typing import Any

from jsonargparse import ArgumentParser, Namespace

import lorary
from lorary.cli.keep_places import KeepPlaces
from lorary.cli.printing import print_facts, print_json, print_line
from lorary.cli.task_options import add_reading_options
from lorary.cli.tasks import describe_skipped, find_task_template, read_tasks
from lorary.data import Example, Task, Template, tokenize_examples
from lorary.files import say_count, shorten

EXAMPLE = "lorary data show synthetic:plurals"
# Longest prompt or target shown, in characters.
LONGEST = 4000


def add_arguments(parser: ArgumentParser) -> None:
    """Add the tasks, the options for reading them, and the base model."""
    parser.add_argument(
        "tasks", action=KeepPlaces, nargs="+", metavar="FILE", help="Places, as in --tasks of other commands"
    )
    add_reading_options(parser)
    parser.add_argument("--base", type=str | None, help="Base model whose tokens and chat template are shown")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")


def run(options: Namespace) -> int:
    """Read the tasks, and describe each of them."""
    tasks = read_tasks(options)
    template = find_task_template(options)
    tokenizer = None if options.base is None else lorary.load_base(options.base).tokenizer
    if options.template == "chat" and tokenizer is None:
        raise ValueError("--template chat needs a base model, which has the chat template: add --base")
    shown = {name: render_example(task, template, tokenizer) for name, task in tasks.items()}
    if options.json:
        print_json([summarize_task(name, task, shown[name]) for name, task in tasks.items()])
        return 0
    for name, task in tasks.items():
        print_facts([(label, text) for label, text in describe_task(name, task) if text])
        print_example(*shown[name])
        print_line("")
    return 0


def render_example(task: Task, template: Template, tokenizer: Any) -> tuple[str, str]:
    """Render the prompt and the target of a task's first example: as text, or decoded from its tokens."""
    example = find_example(task)
    if tokenizer is None:
        (reply,) = template.reply(task, example, example.targets[:1])
        return template.render(task, example), reply.text
    found = tokenize_examples(tokenizer, template, task, [example], max_length=10**6).examples[0]
    return tokenizer.decode(found.prompt_ids), tokenizer.decode(found.target_ids)


def find_example(task: Task) -> Example:
    """Return the first example of the first split, which is the training split if the task has one."""
    return next(iter(task.splits.values()))[0]


def describe_task(name: str, task: Task) -> Iterator[tuple[str, str]]:
    """Describe a task, as pairs of label and text; some texts are empty."""
    splits = ", ".join(f"{len(examples):,} {split}" for split, examples in task.splits.items())
    yield "task", name
    yield "format", ", ".join(task.formats)
    yield "examples", f"{task.num_examples:,}: {splits}{describe_skipped({name: task})}"
    yield "unused", ", ".join(task.unused) and f"columns {', '.join(task.unused)}"
    yield "rejected", (task.num_rejected and f"{say_count(task.num_rejected, 'answer')} marked as bad") or ""
    yield "definition", shorten(" ".join(task.definition.split()), 200)


def print_example(prompt: str, target: str) -> None:
    """Print an example, with a mark before each line of the prompt and of the target."""
    print_line("example   | prompt, > target")
    for mark, text in (("|", prompt), (">", target)):
        for line in shorten(text, LONGEST).split("\n"):
            print_line(f"  {mark} {line}")


def summarize_task(name: str, task: Task, shown: tuple[str, str]) -> dict[str, Any]:
    """Describe a task in JSON values."""
    return {
        "task": name,
        "formats": list(task.formats),
        "examples": {split: len(examples) for split, examples in task.splits.items()},
        "num_skipped": task.num_skipped,
        "num_duplicates": task.num_duplicates,
        "num_overlapping": task.num_overlapping,
        "num_rejected": task.num_rejected,
        "unused": list(task.unused),
        "definition": task.definition,
        "prompt": shown[0],
        "target": shown[1],
    }
