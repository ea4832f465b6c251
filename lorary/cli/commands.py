"""Every command of ``lorary`` by name, in the order that the help lists them."""

from lorary.cli import (
    build,
    cluster,
    eval,
    export,
    generate,
    merge,
    prototypes,
    quickstart,
    report,
    subtract,
    train,
)
from lorary.cli.command import Command
from lorary.cli.library import add, copy, ls, prune, rename, rm, settle, show, verify

COMMANDS: dict[str, Command] = {
    "quickstart": quickstart,
    "train": train,
    "prototypes": prototypes,
    "cluster": cluster,
    "merge": merge,
    "subtract": subtract,
    "eval": eval,
    "report": report,
    "build": build,
    "export": export,
    "generate": generate,
    "library ls": ls,
    "library show": show,
    "library add": add,
    "library rm": rm,
    "library rename": rename,
    "library copy": copy,
    "library verify": verify,
    "library prune": prune,
    "library settle": settle,
}

GROUPS: dict[str, str] = {
    "library": "Look at and look after the experts of a library.",
}
