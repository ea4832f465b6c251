"""Load tasks and groups of lm-evaluation-harness by name, with documents from a folder."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lorary.errors import DataError, suggest
from lorary.evaluation.bridges.config import HarnessConfig
from lorary.evaluation.bridges.data_folder import DataFolder
from lorary.evaluation.bridges.local_task import LocalTask
from lorary.evaluation.bridges.task_index import KnownTask, index_tasks, list_benchmarks, resolve_functions
from lorary.files import quote

# Keys of task files that are not settings of a task.
STRUCTURE = ("tag", "group", "task_list")


@dataclass(frozen=True)
class Benchmark:
    """A task or a group of tasks, as asked for by name; its numbers are means over all documents."""

    name: str
    """The name."""
    tasks: tuple[LocalTask, ...]
    """The task, or the tasks of the group."""


def load_benchmarks(
    names: Sequence[str], folder: Path, config: HarnessConfig | None = None, *, allow_code: bool = False
) -> tuple[list[Benchmark], DataFolder]:
    """Load tasks and groups of lm-evaluation-harness by their names there.

    Args:
        names: names of tasks or groups.
        folder: a folder with the benchmarks' files, see ``docs/evaluating.md``.
        config: the number of examples before each question.
        allow_code: whether tasks that execute generated programs are allowed.

    Returns:
        The benchmarks in the order of the names, and the folder with the files that were read.

    Raises:
        DataError: with all faults: unknown names, missing files, bad rows, code that
            is not allowed.
    """
    known = index_tasks()
    leaves = dict.fromkeys(leaf for name in names if name in known for leaf in known[name].leaves)
    settled = {leaf: settle_config(known[leaf].config, config or HarnessConfig()) for leaf in leaves}
    data = DataFolder(folder)
    faults = [
        *_find_name_faults(names, known),
        *([] if allow_code else _find_code(settled.values())),
        *_find_missing(settled.values(), data),
    ]
    found: list[Benchmark] = []
    for name in names if not faults else ():
        try:
            tasks = [LocalTask(resolve_functions(settled[leaf]), data) for leaf in known[name].leaves]
            found.append(Benchmark(name, tuple(tasks)))
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(dict.fromkeys(faults)))
    return found, data


def settle_config(config: Mapping[str, Any], harness: HarnessConfig) -> dict[str, Any]:
    """Set the number of examples before a question, and remove settings that such a prompt does not need.

    Args:
        config: of a task.
        harness: the requested number.
    """
    settled = {key: value for key, value in config.items() if key not in STRUCTURE}
    own = settled.get("num_fewshot")
    shots = own if harness.num_fewshot is None or own == 0 else harness.num_fewshot
    settled["num_fewshot"] = shots or 0
    files = dict(settled["dataset_kwargs"]["data_files"])
    if not shots:
        measured = settled.get("test_split") or settled.get("validation_split")
        settled |= {"training_split": None, "fewshot_split": None}
        files = {measured: files[measured]}
        if "process_docs" in (settled.get("fewshot_config") or {}):
            settled["fewshot_config"] = None
    elif not settled.get("fewshot_split") and not settled.get("fewshot_config"):
        # The harness takes the training split too, and says so for each task.
        settled["fewshot_split"] = settled.get("training_split")
    settled["dataset_kwargs"] = {**settled["dataset_kwargs"], "data_files": files}
    return settled


def _find_name_faults(names: Sequence[str], known: Mapping[str, KnownTask]) -> list[str]:
    # The names of parts come last: there are hundreds.
    benchmarks = list_benchmarks()
    faults = [
        f"no task is called {quote(name)}: "
        + suggest(name, known if get_close_matches(name, known, cutoff=0.5) else benchmarks)
        for name in names
        if name not in known
    ]
    twice = sorted({name for name in names if names.count(name) > 1})
    return faults + [f"tasks must be named once, found {quote(name)} twice" for name in twice]


def _find_code(settled: Iterable[Mapping[str, Any]]) -> list[str]:
    tasks = [quote(config["task"]) for config in settled if config.get("unsafe_code")]
    if not tasks:
        return []
    return [
        f"{', '.join(tasks)}: the programs that the model writes are executed, in a sandbox: allow it with "
        "--allow-code (in Python allow_code=True), or leave out the task"
    ]


def _find_missing(settled: Iterable[Mapping[str, Any]], data: DataFolder) -> list[str]:
    if not data.path.is_dir():
        return [f"--data must be a folder, found {quote(str(data.path))}"]
    files = dict.fromkeys(
        name for config in settled for name in config["dataset_kwargs"]["data_files"].values()
    )
    return [data.explain_missing(name) for name in files if data.find(name) is None]
