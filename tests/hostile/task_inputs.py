"""Task files of every format."""

import gzip
import json
import lzma
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from lorary.data import Task, read_task
from tests.hostile.reader import check_text

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
    "gz": (partial(gzip.compress, mtime=0), ".gz"),
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
