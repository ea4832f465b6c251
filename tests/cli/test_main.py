import shlex
import subprocess
import sys

import pytest

from lorary import __version__
from lorary.cli.command_table import COMMANDS, GROUPS
from lorary.cli.options import build_parser
from lorary.cli.overview import summarize


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_the_overview_names_every_command(lorary, words):
    code, output, _ = lorary(*words)
    assert code == 0
    for name, command in COMMANDS.items():
        assert f"  {name} " in output
        assert summarize(command) in output


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("words", [[], ["--help"]])
def test_a_group_lists_its_commands(lorary, group, words):
    code, output, _ = lorary(group, *words)
    assert code == 0
    assert f"usage: lorary {group} COMMAND" in output
    assert [name for name in COMMANDS if name.startswith(f"{group} ")]
    for name in COMMANDS:
        assert (f"  {name.removeprefix(group + ' ')} " in output) == name.startswith(f"{group} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself_with_an_example_that_runs(lorary, name):
    code, output, _ = lorary(*name.split(), "--help")
    assert code == 0
    assert "--config FILE" in output
    assert output.endswith(f"example:\n  {COMMANDS[name].EXAMPLE}\n")
    assert COMMANDS[name].EXAMPLE.startswith(f"lorary {name} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_has_options_it_knows(name):
    words = shlex.split(COMMANDS[name].EXAMPLE.removeprefix(f"lorary {name} "))
    assert build_parser(name, COMMANDS[name]).parse_args(words)


def test_the_version_is_printed(lorary):
    assert lorary("--version") == (0, f"lorary {__version__}\n", "")


def test_help_comes_without_loading_torch():
    code = (
        "import sys; from lorary.cli import main; main(['library', 'ls', '--help']); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\nFalse\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["libary"], "lorary has no command 'libary': did you mean 'library'?"),
        (["library", "shwo"], "lorary library has no command 'shwo': did you mean 'show'?"),
        (["ls"], "lorary has no command 'ls': known are "),
        (["--config", "x.yaml"], "lorary has no option '--config' before the command: see lorary --help"),
    ],
)
def test_an_unknown_command_is_refused_with_the_nearest(lorary, words, message):
    code, output, errors = lorary(*words)
    assert (code, output) == (2, "")
    assert errors.startswith(f"error: {message}")
