"""Find the command, read its options, run it."""

import sys
from collections.abc import Sequence

from lorary import __version__
from lorary.cli.command_table import COMMANDS, GROUPS, load_check, load_command, load_run
from lorary.cli.errors import report_errors
from lorary.cli.faults import Faults
from lorary.cli.near_names import suggest_command
from lorary.cli.options import HELP, WrongValues, read_options
from lorary.cli.overview import format_overview
from lorary.cli.own_warnings import plain_warnings
from lorary.cli.printing import print_line, print_lines
from lorary.cli.quiet_packages import quiet_packages
from lorary.cli.screen import guard_streams
from lorary.files import quote

DEBUG = "--debug"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of ``lorary``.

    Args:
        argv: the words after ``lorary``; None means this process's own.

    Returns:
        The exit code: 0, 2 after an error, 130 after Ctrl-C, 141 if the reader of the output has closed the
        pipe.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    quiet_packages()
    # Allowed before and after the command's name.
    debug = DEBUG in words
    with guard_streams(), plain_warnings():
        return report_errors(lambda: run_command([word for word in words if word != DEBUG]), debug)


def run_command(words: Sequence[str]) -> int:
    """Run the command that the first words name, or print the list of commands.

    Raises:
        ValueError: if there is no such command, or its options are invalid.
    """
    if words and words[0] == "--version":
        print_line(f"lorary {__version__}")
        return 0
    depth = 2 if words and words[0] in GROUPS else 1
    name, rest = " ".join(words[:depth]), words[depth:]
    if name in COMMANDS:
        try:
            options = read_options(name, load_command(name), rest)
        except WrongValues as wrong:
            raise _tell_more(name, wrong) from wrong
        return 0 if options is None else load_run(name)(options)
    group = words[0] if depth == 2 else None
    if len(words) < depth or words[depth - 1] in HELP:
        print_lines(format_overview(group))
        return 0
    raise ValueError(_refuse(words[depth - 1], group))


def _tell_more(name: str, wrong: WrongValues) -> WrongValues:
    """Add what is wrong with the other options of a command."""
    check = load_check(name)
    if wrong.others is None or check is None:
        return wrong
    faults, others = Faults(), wrong.others
    faults.keep(lambda: check(others))
    return WrongValues(name, [*wrong.faults, *map(str, faults.errors)], others)


def _refuse(word: str, group: str | None) -> str:
    program = f"lorary {group}" if group else "lorary"
    if word.startswith("-"):
        return f"{program} has no option {quote(word)} before the command: see {program} --help"
    return f"{program} has no command {quote(word)}: {suggest_command(word, COMMANDS, group)}"
