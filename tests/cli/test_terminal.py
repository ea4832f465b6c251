"""What every command shows on a terminal of 80 columns, with and without colours."""

import io
import re
import shutil
from pathlib import Path

import pytest

from lorary.cli import main
from lorary.cli.command_table import COMMANDS
from lorary.cli.commands.quickstart.outcome import Outcome, save_outcome
from lorary.cli.commands.quickstart.plan import METRIC, QuickstartPlan
from lorary.cli.commands.quickstart.plan import ROUTES as ROUTES_OF_QUICKSTART
from lorary.evaluation import Result
from lorary.experts import write_peft
from lorary.library import Library
from lorary.library.lock import lock_library, write_lock
from lorary.reports.routed_sample import RoutedSample, RoutedToken
from tests.cli.tuned_models import save_tuned

WIDTH = 80
FEW = ("--evaluation.num_examples", "2", "--evaluation.max_new_tokens", "2")
SHORT = ("--training.max_steps", "1", "--training.batch_size", "1", "--training.max_validation_examples", "1")
TASKS = ("--tasks", "synthetic:plurals", "synthetic:prices")
NEW = ("--tasks", "costs_of_everything_that_is_for_sale=synthetic:prices")
ROUTES = "base,random,uniform,arrow,spectr,calibrated,expert:past_tense"
WORDS = {
    "quickstart": ("--max-steps", "2", "--num-tests", "2", "--base", "BASE", "--out", "quick"),
    "train": ("new", *TASKS, *SHORT, "--training.rank", "2", "--base", "BASE"),
    "prototypes": ("lib",),
    "calibrate": ("lib",),
    "cluster": ("lib", "--out", "clusters.yaml"),
    "merge": ("lib", "--out", "merged"),
    "lock": ("lib",),
    "sync": ("locked.lock", "--sources", "lib", "--out", "same"),
    "extract": ("BASE", "tuned", "--rank", "2", "--out", "extracted"),
    "subtract": ("lib", "prices", "--out", "distinct"),
    "adapt": ("lib", *NEW, *SHORT, "--method", "average"),
    "transfer": ("lib", *TASKS, *SHORT, "--starts", "experts", "--out", "transfer"),
    "eval": ("lib", *TASKS, *NEW[1:], *FEW, "--routes", ROUTES, "--metrics", "loss,exact_match"),
    "report": ("lib", *TASKS, *FEW, "--routes", "base", "--transfer-examples", "1", "--out", "report"),
    "build": ("lib", "--out", "built"),
    "export": ("lib", "prices", "--out", "exported"),
    "generate": ("lib", "Say something", "--max-new-tokens", "3", "--show-experts"),
    "run": ("phatgoose-t0", "--scale", "tiny", "--dry-run", "--out", "trial"),
    "data split": ("rows.jsonl", "--by", "task", "--out", "split"),
    "data show": ("synthetic:plurals",),
    "library ls": ("lib",),
    "library show": ("lib", "prices"),
    "library add": ("lib", "adapter", "--name", "costs"),
    "library rm": ("lib", "prices"),
    "library rename": ("lib", "prices", "costs"),
    "library copy": ("lib", "prices", "costs"),
    "library verify": ("lib",),
    "library prune": ("lib",),
    "library settle": ("lib",),
    "library tag": ("lib", "prices", "--add", "trade"),
}
COLOUR = re.compile(r"\x1b\[(\d+;)*(3[0-8]|4[0-8]|9[0-7])[;m]")
CONTROL = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
TERMINALS = {"colour": {"TERM": "xterm-256color"}, "no colour": {"TERM": "xterm-256color", "NO_COLOR": "1"}}


class Terminal(io.StringIO):
    """A terminal that keeps what it shows."""

    def isatty(self):
        return True


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder that all commands share."""
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def show(monkeypatch, tmp_path, trained_library, tiny_base, cache):
    """Runs a command on a terminal in a folder with a library; returns what it showed."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("LORARY_CACHE", cache)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained_library, "lib")
    write_peft(Library.open("lib")["prices"], "adapter")
    _save_quickstart(tiny_base)
    Path("rows.jsonl").write_text('{"task": "sums", "input": "1 + 1", "target": "2"}\n')
    save_tuned(tiny_base, "tuned")
    write_lock(lock_library("lib"), "locked.lock")

    def run(*words):
        out, err = Terminal(), Terminal()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", out)
            patch.setattr("sys.stderr", err)
            code = main(words)
        assert code == 0, err.getvalue()
        return out.getvalue(), err.getvalue()

    return run


def _save_quickstart(base):
    """Saves what a quickstart came to, which the command shows."""
    plan = QuickstartPlan(base=base, max_steps=2, num_tests=2)
    cells = [(task, route, METRIC) for task in plan.tasks for route in ROUTES_OF_QUICKSTART]
    records = [(*cell, value) for cell in cells for value in (0.0, 1.0)]
    token = RoutedToken("half past nine " * 9, ((plan.tasks[0], 0.75), (plan.tasks[1], 0.25)))
    sample = RoutedSample(plan.tasks[0], (token,), (token,))
    Path("quick").mkdir()
    save_outcome(plan, Outcome(Result.from_records(records), (sample,), 60.0), Path("quick"))


def test_every_command_is_shown():
    assert set(WORDS) == set(COMMANDS)


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("terminal", TERMINALS)
def test_what_a_command_shows_fits_80_columns_and_nothing_is_cut(
    show, name, terminal, monkeypatch, tiny_base
):
    for variable, value in TERMINALS[terminal].items():
        monkeypatch.setenv(variable, value)
    words = [tiny_base if word == "BASE" else word for word in WORDS[name]]
    out, err = show(*name.split(), *words)
    for line in CONTROL.sub("", f"{out}\n{err}").replace("\r", "\n").splitlines():
        # What is to be copied is one line, however long; so is a word, such as a path.
        is_whole = line.startswith("next: ") or " " not in line.strip()
        assert len(line.rstrip()) <= WIDTH or is_whole, line
    assert not re.search(r"\w…", out)
    if terminal == "no colour":
        assert not COLOUR.search(out + err)
    if name == "eval":
        rows = [line.strip() for line in CONTROL.sub("", out).splitlines()]
        assert len([row for row in rows if row.startswith("mean of")]) == 4  # two tables for each metric
        assert any(row.startswith("prices") and "*" in row for row in rows)
        assert bool(COLOUR.search(out)) == (terminal == "colour")
