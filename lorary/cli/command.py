"""What a command is: a module with an example, its arguments and what it does."""

from typing import Protocol

from jsonargparse import ArgumentParser, Namespace


class Command(Protocol):
    """A module in this room; its docstring is the help, and the first line of that is the summary.

    Whatever takes long to import is imported within the two functions, so that help comes at once.
    """

    EXAMPLE: str
    """A command line that runs, shown at the end of the help."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add this command's arguments."""
        ...

    def run(self, options: Namespace) -> int:
        """Do it, and return the exit code."""
        ...
