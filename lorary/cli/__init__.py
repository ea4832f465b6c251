"""The command line: a file or folder per command, listed in ``command_table``; no other room imports it."""

from lorary.cli.main import main

__all__ = ["main"]
