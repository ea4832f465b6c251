"""What a command is: a module with an example, its arguments and what it does."""

from typing import Protocol

from jsonargparse import ArgumentParser


class Command(Protocol):
    """A module below ``lorary.cli.commands``; its docstring is the help, whose first line is the summary.

    It holds the function ``run(options: Namespace) -> int`` too, which returns the exit code. Where ``run``
    needs what takes seconds to import, it stands in another module, so that help and mistyped options are
    answered at once.
    """

    EXAMPLE: str
    """A command line that runs, shown at the end of the help."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add this command's arguments."""
        ...
