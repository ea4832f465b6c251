"""Read a command's options: from a YAML file, from the command line, the latter winning."""

import argparse
from collections.abc import Sequence

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from lorary.cli.command import Command
from lorary.cli.spelling import CheckedConfigFile, check_options, check_words, find_groups
from lorary.files import shorten

# Characters of jsonargparse's messages, which quote whole values.
LONGEST = 600


class HelpFormatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Keeps the line breaks of descriptions and examples."""


def read_options(name: str, command: Command, words: Sequence[str]) -> Namespace | None:
    """Read the options of a command.

    Returns:
        The options by name, those for which nothing was said at their defaults; ``None`` if help was
        asked for, which is then printed.

    Raises:
        ValueError: if an option is unknown, missing or of the wrong kind.
    """
    parser = build_parser(name, command)
    check_words(words)
    check_options(parser, words)
    try:
        return parser.parse_args(list(words))
    except argparse.ArgumentError as error:
        raise ValueError(f"{shorten(str(error), LONGEST)}: see lorary {name} --help") from error
    except (ArithmeticError, RecursionError) as error:
        raise ValueError(f"an option's value is out of range ({error}): see lorary {name} --help") from error
    except SystemExit as ended:
        if ended.code:
            raise ValueError(f"the options cannot be read: see lorary {name} --help") from ended
        # --help and --print_config end like this.
        return None


def build_parser(name: str, command: Command) -> ArgumentParser:
    """Build the parser of one command."""
    # A dataclass's field docstrings become the help of its options.
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog=f"lorary {name}",
        description=command.__doc__,
        epilog=f"example:\n  {command.EXAMPLE}",
        formatter_class=HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", action=CheckedConfigFile, metavar="FILE", help="Read options from a YAML file"
    )
    command.add_arguments(parser)
    for group in find_groups(parser).values():
        group.help = argparse.SUPPRESS
    return parser
