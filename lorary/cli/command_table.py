"""Every command of ``lorary`` by name, in the order that the help lists them."""

from lorary.cli.command import Command
from lorary.cli.commands import build, cluster, export, prototypes, subtract
from lorary.cli.commands.eval import command as eval
from lorary.cli.commands.generate import command as generate
from lorary.cli.commands.library import add, copy, ls, prune, rename, rm, settle, show, verify
from lorary.cli.commands.merge import command as merge
from lorary.cli.commands.quickstart import command as quickstart
from lorary.cli.commands.report import command as report
from lorary.cli.commands.train import command as train

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
