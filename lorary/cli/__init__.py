"""The command line: a file per command, all in the table ``commands.COMMANDS``; nobody imports this room."""

from lorary.cli.main import main

__all__ = ["main"]
