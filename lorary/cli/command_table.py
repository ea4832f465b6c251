"""The table of all commands, in the order of the help. A command's module is imported only to run it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import cast

from jsonargparse import Namespace

from lorary.cli.command import Command


@dataclass(frozen=True)
class Listing:
    """A command's summary, and the modules with its code."""

    summary: str
    """One line: the first of the docstring of ``options``, without its full stop."""
    options: str
    """Module below ``lorary.cli.commands`` that is a ``Command``: its help and its arguments."""
    run: str | None = None
    """Module with ``run``, imported after the options are read; None if ``options`` has it."""


HEADINGS: dict[str, dict[str, Listing]] = {
    "build a library": {
        "quickstart": Listing(
            "Train experts on synthetic tasks, route requests among them, and compare with the base model",
            "quickstart.options",
            "quickstart.run",
        ),
        "train": Listing(
            "Train one expert per task, many at once, into a library", "train.options", "train.run"
        ),
        "adapt": Listing(
            "Adapt a library to new tasks from a few examples: an expert for each task",
            "adapt.options",
            "adapt.run",
        ),
        "merge": Listing("Merge experts of a library into one", "merge.options", "merge.run"),
        "calibrate": Listing(
            "Calibrate a library's experts before their first answer; with --tasks, tune the default router",
            "calibrate.options",
            "calibrate.run",
        ),
        "cluster": Listing(
            "Group experts with similar weight changes into clusters (model-based clustering)",
            "cluster.options",
            "cluster.run",
        ),
        "extract": Listing(
            "Extract an expert from a fine-tuned model: the best low-rank approximation of what changed",
            "extract.options",
            "extract.run",
        ),
        "run": Listing(
            "Run a protocol: the stages of a published experiment, one command after the other",
            "run.options",
            "run.run",
        ),
        "data split": Listing(
            "Split a data set of many tasks into a file per task and split",
            "data.split.options",
            "data.split.run",
        ),
        "subtract": Listing(
            "Subtract one expert from all others, and save the results as a new library",
            "subtract.options",
            "subtract.run",
        ),
        "library add": Listing(
            "Add a PEFT adapter to a library; a missing library is created", "library.add"
        ),
        "library rm": Listing("Remove experts and their weights from a library", "library.rm"),
        "library rename": Listing("Rename an expert", "library.rename"),
        "library copy": Listing("Copy an expert under another name within a library", "library.copy"),
        "library tag": Listing("Change an expert's tags, notes and role", "library.tag"),
        "library prune": Listing(
            "Remove artifacts, such as prototypes, of experts that are no longer in a library",
            "library.prune",
        ),
        "library settle": Listing(
            "Finish an interrupted change of a library that another user or another machine began",
            "library.settle",
        ),
    },
    "use it": {
        "generate": Listing(
            "Answer a prompt with a library's experts, or with a built model",
            "generate.options",
            "generate.run",
        ),
        "build": Listing(
            "Build a routed model: one folder with experts and router, loaded with one line of Python",
            "build.options",
            "build.run",
        ),
        "lock": Listing(
            "Write a lock file: the hashes of a library's files, its base model, router, recipes, and "
            "versions",
            "lock.options",
            "lock.run",
        ),
        "sync": Listing(
            "Rebuild the library of a lock file, bit for bit, or print what differs",
            "sync.options",
            "sync.run",
        ),
        "export": Listing(
            "Export an expert as a PEFT adapter, or folded into its base model",
            "export.options",
            "export.run",
        ),
    },
    "look at it": {
        "eval": Listing(
            "Compare routes on tasks: the base model, single experts, routers", "eval.options", "eval.run"
        ),
        "report": Listing(
            "Write an HTML report on a library: results, routing by task and layer, similarity of experts",
            "report.options",
            "report.run",
        ),
        "transfer": Listing(
            "Measure experts and merges of them as starts for training on new tasks (transfer matrix)",
            "transfer.options",
            "transfer.run",
        ),
        "prototypes": Listing(
            "Compute the missing Arrow prototypes of a library, and show the gains of its experts",
            "prototypes.options",
            "prototypes.run",
        ),
        "data show": Listing(
            "Show how task files are read: formats, counts, and an example as the model sees it",
            "data.show.options",
            "data.show.run",
        ),
        "library ls": Listing("List the experts of a library", "library.ls"),
        "library show": Listing("Show the card of one expert", "library.show"),
        "library verify": Listing(
            "Check that the experts and artifacts of a library are complete and unchanged", "library.verify"
        ),
    },
}
"""Heading of the overview -> listings by command name: one word, or a group and one more word."""

COMMANDS = {name: listing for listings in HEADINGS.values() for name, listing in listings.items()}
"""All listings by command name, in the order of the overview."""

GROUPS: dict[str, str] = {
    "data": "Inspect and split task files.",
    "library": "List, inspect and change the experts of a library.",
}
"""Summaries of the groups by name."""


def load_command(name: str) -> Command:
    """Import the module with a command's help and arguments."""
    return cast(Command, load_module(COMMANDS[name].options))


def load_run(name: str) -> Callable[[Namespace], int]:
    """Import a command's ``run``: a function from options to the exit code."""
    listing = COMMANDS[name]
    return cast(Callable[[Namespace], int], load_module(listing.run or listing.options).run)


def load_check(name: str) -> Callable[[Namespace], object] | None:
    """Import a command's ``check``, see ``Command``; None if it has none."""
    listing = COMMANDS[name]
    return getattr(load_module(listing.run or listing.options), "check", None)


def load_module(module: str) -> ModuleType:
    """Import a module below ``lorary.cli.commands`` by its name."""
    return import_module(f"lorary.cli.commands.{module}")
