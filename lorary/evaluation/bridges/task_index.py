"""The tasks and groups of lm-evaluation-harness that have task files in this package."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from lm_eval import __file__ as harness_file
from lm_eval.tasks._index import Entry, Kind, TaskIndex
from lm_eval.tasks._yaml_loader import _import_fun_from_str, load_yaml

from lorary.evaluation.bridges.code_functions import FUNCTIONS

OWN_TASKS = Path(__file__).parent / "tasks"
HARNESS_TASKS = Path(harness_file).resolve().parent / "tasks"


@dataclass(frozen=True)
class KnownTask:
    """A task or a group of tasks."""

    leaves: tuple[str, ...]
    """The names of the tasks that it is or has."""
    config: Mapping[str, Any]
    """The configuration of a task, with functions of the harness as paths; empty for a group."""


class _OwnLoader(yaml.SafeLoader):
    """Reads task files of this package, with functions by name."""


_OwnLoader.add_constructor("!function", lambda loader, node: FUNCTIONS[str(loader.construct_scalar(node))])


@cache
def index_tasks() -> Mapping[str, KnownTask]:
    """Read all task files of this package, with the files of the harness that they include."""
    known: dict[str, KnownTask] = {}
    for path in sorted(OWN_TASKS.glob("*.yaml")):
        loader = _OwnLoader(path.read_text())
        own = loader.get_single_data()
        included = own.pop("include")
        if isinstance(included, str) and included.endswith(".yaml"):
            config = {**load_yaml(HARNESS_TASKS / included, resolve_func=False), **own, "task": path.stem}
            known[path.stem] = KnownTask((path.stem,), config)
            continue
        folders = [included] if isinstance(included, str) else included
        known |= _index_family(TaskIndex.build([HARNESS_TASKS / each for each in folders]), own)
    return known


def list_benchmarks() -> list[str]:
    """List the names of the task files: the benchmarks, without their parts."""
    return sorted(path.stem for path in OWN_TASKS.glob("*.yaml"))


def resolve_functions(value: Any) -> Any:
    """Replace functions of the harness, which are given as paths of its files, by the functions."""
    if isinstance(value, str) and value.startswith(f"{HARNESS_TASKS}/"):
        return _import_fun_from_str(value)
    if isinstance(value, dict):
        return {key: resolve_functions(part) for key, part in value.items()}
    return [resolve_functions(part) for part in value] if isinstance(value, list) else value


def _index_family(entries: Mapping[str, Entry], own: Mapping[str, Any]) -> dict[str, KnownTask]:
    return {
        name: KnownTask(
            tuple(dict.fromkeys(_list_leaves(name, entries))),
            {**(entry.cfg or {}), **own} if entry.kind is Kind.TASK else {},
        )
        for name, entry in entries.items()
    }


def _list_leaves(name: str, entries: Mapping[str, Entry]) -> Iterator[str]:
    entry = entries[name]
    if entry.kind is Kind.TASK:
        yield name
        return
    members = sorted(entry.tags) if entry.kind is Kind.TAG else (entry.cfg or {}).get("task", ())
    for member in members:
        yield from _list_leaves(member, entries)
