"""Messages, for all commands, about what is left out of libraries or changed between rows and tokens."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from lorary.cli.general_names import name_generals
from lorary.cli.printing import print_line
from lorary.data import Task
from lorary.data.prompt_counts import PromptCounts
from lorary.files import escape, say_count
from lorary.library.view import LibraryView

MOST_NAMED, LONGEST_NAME = 8, 60
# Field of a task -> the noun, and what happened.
ROWS = {
    "num_skipped": ("bad row", "skipped"),
    "num_duplicates": ("duplicate", "left out"),
    "num_overlapping": ("example", "left out, because a later split has the same input"),
    "num_rejected": ("answer", "marked as bad, left out"),
}
# Field of ``PromptCounts`` -> the same.
PROMPTS = {
    "num_cut": ("prompt", "truncated to the maximum length"),
    "num_skipped": ("example", "left out as too long"),
    "num_merged": (
        "example",
        "with the system turn in the user's first turn, because the chat template refuses system turns",
    ),
    "num_rewritten": (
        "finished conversation",
        "not beginning with the prompt that generation reads; the answer follows that prompt",
    ),
}


def tell_rows(tasks: Mapping[str, Task]) -> None:
    """Print on stderr what readers left out of the tasks' rows, and in which tasks."""
    for text, names in describe_rows(tasks).items():
        print_line(f"{text} (in {_list_some(names)})", stderr=True)


def describe_rows(tasks: Mapping[str, Task]) -> dict[str, list[str]]:
    """Describe what readers left out; returns text -> the names of the tasks."""
    found: dict[str, list[str]] = {}
    for columns in dict.fromkeys(task.unused for task in tasks.values() if task.unused):
        names = [name for name, task in tasks.items() if task.unused == columns]
        found[f"unused columns: {_list_some(columns)}"] = names
    for field, (noun, what) in ROWS.items():
        counts = {name: getattr(task, field) for name, task in tasks.items() if getattr(task, field)}
        if counts:
            found[f"{say_count(sum(counts.values()), noun)} {what}"] = list(counts)
    return found


def tell_prompts(counts: Iterable[PromptCounts], examples: str) -> None:
    """Print on stderr what the template and the maximum length changed.

    Args:
        counts: of each task.
        examples: which examples these are, such as "measured examples".
    """
    for text in describe_prompts(counts):
        print_line(f"{examples}: {text}", stderr=True)


def describe_prompts(counts: Iterable[PromptCounts]) -> Iterator[str]:
    """Describe what the template and the maximum length changed, one text for each kind of change."""
    total = sum(counts, PromptCounts())
    for field, (noun, what) in PROMPTS.items():
        if number := getattr(total, field):
            yield f"{say_count(number, noun)} {what}"


def tell_roles(view: LibraryView) -> None:
    """Print on stderr which experts of a library are not used because of their role.

    A general expert that others build on is always on with them, so it is not left out.
    """
    used = name_generals(view.library, view.entries()).values()
    left_out = {role: [name for name in own if name not in used] for role, own in view.left_out.items()}
    rest = LibraryView(view.library, list(view), left_out)
    if rest.left_out:
        also = "it" if sum(map(len, rest.left_out.values())) == 1 else "them"
        print_line(
            f"left out: {rest.describe_left_out()}; --include {','.join(rest.left_out)} uses {also} too",
            stderr=True,
        )


def _list_some(names: Sequence[str]) -> str:
    shown = ", ".join(escape(name, longest=LONGEST_NAME) for name in names[:MOST_NAMED])
    return f"{shown}, …" if len(names) > MOST_NAMED else shown
