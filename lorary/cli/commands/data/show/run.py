"""Read tasks, and describe each of them."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from jsonargparse import Namespace

import lorary
from lorary.cli.console import show_status
from lorary.cli.left_out import describe_prompts, describe_rows
from lorary.cli.printing import print_facts, print_json, print_line
from lorary.cli.tasks import load_tasks, read_task_template
from lorary.data import Example, Task, Template, tokenize_examples
from lorary.data.chat_template import ChatTemplate
from lorary.data.prompt_counts import PromptCounts
from lorary.files import escape, say_count

# Longest prompt or target shown, in characters.
LONGEST = 4000
# Most turns of conversations that are rendered to be counted, which takes some ten seconds.
MOST_TURNS = 200_000


def run(options: Namespace) -> int:
    """Read the tasks, and describe each of them."""
    tasks = load_tasks(options)
    template = read_task_template(options)
    tokenizer = None if options.base is None else lorary.load_base(options.base).tokenizer
    if options.template == "chat" and tokenizer is None:
        raise ValueError("--template chat needs a base model, which has the chat template: add --base")
    shown = {name: render_task(task, template, tokenizer) for name, task in tasks.items()}
    if options.json:
        print_json([summarize_task(name, task, shown[name]) for name, task in tasks.items()])
        return 0
    for name, task in tasks.items():
        print_facts([(label, text) for label, text in describe_task(name, task, shown[name]) if text])
        print_example(shown[name].prompt, shown[name].target)
        print_line("")
    return 0


@dataclass(frozen=True)
class RenderedTask:
    """What a model reads of a task."""

    prompt: str
    """The prompt of the first example."""
    target: str
    """Its target."""
    counts: PromptCounts
    """Number of its conversations that the template changes."""
    num_counted: int
    """Number of first examples for which this was counted."""


def render_task(task: Task, template: Template, tokenizer: Any) -> RenderedTask:
    """Render a task's first example, and count the conversations that the template changes."""
    prompt, target = render_example(task, template, tokenizer)
    examples = [example for examples in task.splits.values() for example in examples]
    if not isinstance(template, ChatTemplate):
        return RenderedTask(prompt, target, PromptCounts(), len(examples))
    num_turns = list(accumulate(len(example.history) + 2 for example in examples))
    first = examples[: bisect_right(num_turns, MOST_TURNS)] or examples[:1]
    with show_status(f"rendering {say_count(len(first), 'conversation')}"):
        counts = count_changes(task, first, template, tokenizer)
    return RenderedTask(prompt, target, counts, len(first))


def count_changes(
    task: Task, examples: Sequence[Example], template: Template, tokenizer: Any
) -> PromptCounts:
    """Count the conversations that a chat template changes."""
    replies = [template.reply(task, one, one.targets[:1], tokenizer)[0] for one in examples]
    return PromptCounts(
        num_merged=sum(reply.is_merged for reply in replies),
        num_rewritten=sum(reply.is_rewritten for reply in replies),
    )


def render_example(task: Task, template: Template, tokenizer: Any) -> tuple[str, str]:
    """Render the prompt and the target of a task's first example: as text, or decoded from its tokens."""
    example = take_example(task)
    if tokenizer is None:
        (reply,) = template.reply(task, example, example.targets[:1])
        return template.render(task, example), reply.text
    found = tokenize_examples(tokenizer, template, task, [example], max_length=10**6).examples[0]
    return tokenizer.decode(found.prompt_ids), tokenizer.decode(found.target_ids)


def take_example(task: Task) -> Example:
    """Return the first example of the first split, which is the training split if the task has one."""
    return next(iter(task.splits.values()))[0]


def describe_task(name: str, task: Task, shown: RenderedTask) -> Iterator[tuple[str, str]]:
    """Describe a task, as pairs of label and text; some texts are empty."""
    splits = ", ".join(f"{len(examples):,} {split}" for split, examples in task.splits.items())
    yield "task", name
    yield "format", ", ".join(task.formats)
    yield "examples", f"{task.num_examples:,}: {splits}"
    for text in describe_rows({name: task}):
        yield "rows", text
    part = f" (of the first {say_count(shown.num_counted, 'example')})"
    for text in describe_prompts([shown.counts]):
        yield "prompts", text + (part if shown.num_counted < task.num_examples else "")
    yield "definition", escape(" ".join(task.definition.split()), longest=200)


def print_example(prompt: str, target: str) -> None:
    """Print an example, with a mark before each line of the prompt and of the target."""
    print_line("example   | prompt, > target")
    for mark, text in (("|", prompt), (">", target)):
        for line in escape(text, longest=LONGEST).split("\n"):
            print_line(f"  {mark} {line}")


def summarize_task(name: str, task: Task, shown: RenderedTask) -> dict[str, Any]:
    """Describe a task in JSON values."""
    return {
        "task": name,
        "formats": list(task.formats),
        "examples": {split: len(examples) for split, examples in task.splits.items()},
        "num_skipped": task.num_skipped,
        "num_duplicates": task.num_duplicates,
        "num_overlapping": task.num_overlapping,
        "num_rejected": task.num_rejected,
        "num_counted": shown.num_counted,
        "num_merged": shown.counts.num_merged,
        "num_rewritten": shown.counts.num_rewritten,
        "unused": list(task.unused),
        "definition": task.definition,
        "prompt": shown.prompt,
        "target": shown.target,
    }
