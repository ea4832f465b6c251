"""The contract of a command: a module with an example, its arguments and its ``run``."""

from typing import Protocol

from jsonargparse import ArgumentParser


class Command(Protocol):
    """A module below ``lorary.cli.commands``; its docstring is the help, whose first line is the summary.

    The function ``run(options: Namespace) -> int`` returns the exit code. It is here, or in a second module
    if its imports take seconds. Then help and errors in options appear without these imports. Beside ``run``
    there may be ``check(options)``, which raises one error with all faults of the options that can be found
    before a model is loaded. ``run`` calls it, as does the code that reports values of the wrong type.
    """

    EXAMPLE: str
    """A valid command line, shown at the end of the help.

    ``COMMON``, if the module has it, lists the options that ``--help`` shows, the most common first;
    ``--help-all`` shows all of them. ``OPTIONAL`` names an argument without dashes that may be left out.
    """

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add this command's arguments."""
        ...
