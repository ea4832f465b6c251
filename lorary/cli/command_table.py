"""Every command of ``lorary``, in the order of the help; a command is imported when it is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import cast

from jsonargparse import Namespace

from lorary.cli.command import Command


@dataclass(frozen=True)
class Listing:
    """What the overview says of a command, and where its code is."""

    summary: str
    """One line: the first of the docstring of ``options``, without its full stop."""
    options: str
    """Module below ``lorary.cli.commands`` that is a ``Command``: its help and its arguments."""
    run: str | None = None
    """Module with its ``run``, imported once the options are read; None if it is ``options`` itself."""


COMMANDS: dict[str, Listing] = {
    "quickstart": Listing(
        "Train a small library on tasks that lorary writes itself, route tokens through it, and compare",
        "quickstart.options",
        "quickstart.run",
    ),
    "train": Listing("Train one expert per task, many at once, into a library", "train.options", "train.run"),
    "prototypes": Listing(
        "Compute the Arrow prototypes that a library lacks, and show how strong its experts are",
        "prototypes.options",
        "prototypes.run",
    ),
    "cluster": Listing(
        "Put experts into clusters that change their base model alike: model-based clustering",
        "cluster.options",
        "cluster.run",
    ),
    "merge": Listing("Merge experts of a library into one", "merge.options", "merge.run"),
    "subtract": Listing(
        "Take what one expert knows away from all others, and keep them as a new library",
        "subtract.options",
        "subtract.run",
    ),
    "eval": Listing(
        "Compare ways of using a library: the base model, experts, routers", "eval.options", "eval.run"
    ),
    "report": Listing(
        "Write one page about a library: results, who was routed where, which experts are alike",
        "report.options",
        "report.run",
    ),
    "build": Listing(
        "Build a routed model: one folder with router, experts and versions, to be loaded with one line",
        "build.options",
        "build.run",
    ),
    "export": Listing(
        "Export one expert for other programs: as a PEFT adapter, or folded into its base model",
        "export.options",
        "export.run",
    ),
    "generate": Listing(
        "Answer a prompt with a library's experts, or with a model that was built from one",
        "generate.options",
        "generate.run",
    ),
    "data show": Listing(
        "Show what is understood of task files: formats, counts, and an example as a model reads it",
        "data.show",
    ),
    "library ls": Listing("List the experts of a library", "library.ls"),
    "library show": Listing("Show all that is known about one expert", "library.show"),
    "library add": Listing(
        "Add a PEFT adapter to a library, which is made if there is none yet", "library.add"
    ),
    "library rm": Listing("Remove experts from a library, with their weights", "library.rm"),
    "library rename": Listing("Give an expert another name", "library.rename"),
    "library copy": Listing("Copy an expert within a library, under another name", "library.copy"),
    "library verify": Listing(
        "Check that experts, and what was computed from them, are whole: present, readable, and as they "
        "were stored",
        "library.verify",
    ),
    "library prune": Listing(
        "Remove what was computed from experts that are gone, such as their prototypes", "library.prune"
    ),
    "library settle": Listing(
        "Finish the change that another machine, another user or a copy's original left half done in a "
        "library",
        "library.settle",
    ),
}
"""Listings by the words that name a command: one word, or a group's name and one more."""

GROUPS: dict[str, str] = {
    "data": "Look at task files.",
    "library": "Look at and look after the experts of a library.",
}
"""Summaries of the groups by name."""


def load_command(name: str) -> Command:
    """Import what explains a command and reads its options."""
    return cast(Command, load_module(COMMANDS[name].options))


def load_run(name: str) -> Callable[[Namespace], int]:
    """Import what a command does: a function from options to the exit code."""
    listing = COMMANDS[name]
    return cast(Callable[[Namespace], int], load_module(listing.run or listing.options).run)


def load_module(module: str) -> ModuleType:
    """Import a module below ``lorary.cli.commands`` by its name."""
    return import_module(f"lorary.cli.commands.{module}")
