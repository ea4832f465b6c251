import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lorary import __version__
from lorary.cli import commands
from lorary.cli.command_table import COMMANDS, GROUPS, load_command, load_run
from lorary.cli.options import build_parser
from lorary.routing import ROUTERS
from lorary.routing.uses import group_by_uses


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_the_overview_names_every_command(lorary, words):
    code, output, _ = lorary(*words)
    assert code == 0
    for name, listing in COMMANDS.items():
        assert f"  {name} " in output
        assert listing.summary in " ".join(output.split())
    for uses, routers in group_by_uses(ROUTERS).items():
        assert f"{uses} {', '.join(routers)}" in " ".join(output.split())


def test_the_overview_has_its_commands_below_what_they_are_for(lorary):
    lines = lorary("--help")[1].splitlines()
    places = [lines.index(f"{heading}:") for heading in ("build a library", "use it", "look at it")]
    assert places == sorted(places)
    for command, before, after in (("train", 0, 1), ("generate", 1, 2), ("report", 2, 3)):
        (at,) = (place for place, line in enumerate(lines) if line.split()[:1] == [command])
        assert places[before] < at < [*places, len(lines)][after]


@pytest.mark.parametrize("name", [name for name in COMMANDS if hasattr(load_command(name), "COMMON")])
def test_help_has_the_commonest_options_first_and_help_all_the_rest(lorary, name):
    option = re.compile(r"^  (?:-h, )?(--[\w.-]+)", re.MULTILINE)
    common = load_command(name).COMMON
    text, everything = (lorary(*name.split(), word)[1] for word in ("--help", "--help-all"))
    assert option.findall(text) == [*common, "--help", "--config"]
    rest = set(option.findall(everything)) - {*common, "--help", "--config"}
    assert f"\n{len(rest)} more options: lorary {name} --help-all\n" in text
    assert "more options" not in everything


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
@pytest.mark.parametrize("word", ["--help", "-h", "--help-all"])
def test_a_command_explains_itself_with_an_example_that_runs(lorary, name, word):
    code, output, _ = lorary(*name.split(), word)
    assert code == 0
    assert "--config FILE" in output
    example = load_command(name).EXAMPLE
    assert " ".join(output.replace("\\\n", " ").split()).endswith(f"example: {example}")
    assert example.startswith(f"lorary {name} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_of_a_command_what_its_module_says(name):
    assert f"{COMMANDS[name].summary}." == load_command(name).__doc__.partition("\n")[0]
    assert callable(load_run(name))


def test_the_table_lists_every_command_that_there_is():
    folder = Path(commands.__file__).parent
    places = {path.relative_to(folder) for path in folder.rglob("*.py") if "EXAMPLE =" in path.read_text()}
    modules = {".".join(place.with_suffix("").parts) for place in places}
    assert {listing.options for listing in COMMANDS.values()} == modules


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_has_options_it_knows(name):
    words = shlex.split(load_command(name).EXAMPLE.removeprefix(f"lorary {name} "))
    assert build_parser(name, load_command(name)).parse_args(words)


def test_the_version_is_printed(lorary):
    assert lorary("--version") == (0, f"lorary {__version__}\n", "")


# What takes long to import.
SLOW = {"torch", "transformers", "matplotlib", "rich", "datasets"}


@pytest.mark.parametrize(
    "words",
    [["--help"], ["library"], ["--version"], ["no-such-command"], ["library", "shwo"]],
)
def test_what_needs_no_command_loads_none(words):
    assert find_loaded(words) & {*SLOW, "lorary.cli.commands"} == set()


@pytest.mark.parametrize("words", [["--help"], ["--no-such-option"]])
def test_help_and_mistyped_options_come_without_loading_torch(words):
    assert find_loaded(*([*name.split(), *words] for name in COMMANDS)) & SLOW <= {"rich"}


def find_loaded(*lines):
    """Run command lines in a new process, and return the packages and modules that it then has."""
    code = f"import sys; from lorary.cli import main; [main(line) for line in {lines!r}]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_python_runs_the_package_as_the_command():
    words = [sys.executable, "-m", "lorary", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"lorary {__version__}\n"
    done = subprocess.run([*words[:3], "libary"], capture_output=True, text=True)
    assert (done.returncode, done.stderr[:46]) == (2, "error: lorary has no command 'libary': did you")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["libary"], "lorary has no command 'libary': did you mean 'library'?"),
        (["library", "shwo"], "lorary library has no command 'shwo': did you mean 'show'?"),
        (["ls"], "lorary has no command 'ls': did you mean 'library ls'?"),
        (["help"], "lorary has no command 'help': lorary --help lists all"),
        (["data", "see"], "lorary data has no command 'see': lorary data --help lists all"),
        (["--config", "x.yaml"], "lorary has no option '--config' before the command: see lorary --help"),
    ],
)
def test_an_unknown_command_is_refused_with_the_nearest(lorary, words, message):
    code, output, errors = lorary(*words)
    assert (code, output) == (2, "")
    assert errors.startswith(f"error: {message}")
