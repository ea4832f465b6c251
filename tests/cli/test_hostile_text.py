"""Whatever others wrote into a library is shown by every command, and no terminal acts on it."""

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.text import Text

import lorary.cli
from lorary.cli.bars import show_count
from lorary.cli.commands.eval.report import print_result
from lorary.cli.commands.generate.routing_text import print_routing
from lorary.cli.commands.quickstart.outcome import Outcome
from lorary.cli.commands.quickstart.plan import QuickstartPlan
from lorary.cli.commands.quickstart.show import show_outcome
from lorary.cli.console import open_bar, open_console, print_next, print_table, show_status
from lorary.cli.evaluation_bar import show_evaluation
from lorary.cli.printing import print_answer, print_error, print_facts, print_json, print_line
from lorary.cli.screen import GuardedStream, guard_streams
from lorary.evaluation import Result
from lorary.files import escape
from lorary.files.quoting import is_visible
from lorary.library import Library
from lorary.reports.routed_sample import RoutedSample, RoutedToken

HOSTILE = [
    "[red]x[/red] [link=https://example.org]y[/link] [/] :smile:",
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;https://example.org\x1b\\x\x1b]8;;\x1b\\",
    "\x1b]0;title\x07\x1b[2J\x1bc",
    "\x9b2J\x85\x7f\x00",
    "a\rb\x08\x0b\x0c",
    "\u202egnp.exe\u2066\u200e",
    "\u2028\u2029\u200b\ufeff\u00ad\U000e0041\ue000",
    "é 漢字 😀 👩\u200d💻",
]
ALL = " ".join(HOSTILE)
# What rich itself writes on a terminal: colours, and what bars and spinners move the cursor with.
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[012]K|\x1b\[1A|\r")


@pytest.fixture
def hostile_library(tmp_path, make_expert):
    """A library whose cards hold hostile text wherever a card may."""
    from dataclasses import replace

    card = {
        "tasks": tuple(HOSTILE),
        "tags": (ALL, "two\nlines"),
        "description": f"{ALL}\nexpert  fake",
        "base_revision": ALL,
        "base_fingerprint": ALL,
        "provenance": {ALL: [ALL], "text": ALL},
        "parents": (ALL,),
        "scores": {ALL: 1.0},
    }
    library = Library.open(str(tmp_path / "lib"), create=True)
    for name in ("poetry", "sql", "morse"):
        library.add(replace(make_expert(name, **card), base_model=ALL))
    return library


def check_screen(text, keep="\n"):
    assert [character for character in text if not is_visible(character) and character not in keep] == []


COMMANDS = {
    "list": ["library", "ls", "LIB"],
    "list as JSON": ["library", "ls", "LIB", "--json"],
    "list of one task": ["library", "ls", "LIB", "--task", ALL],
    "card": ["library", "show", "LIB", "poetry"],
    "card as JSON": ["library", "show", "LIB", "poetry", "--json"],
    "unknown expert": ["library", "show", "LIB", ALL],
    "check": ["library", "verify", "LIB"],
    "check of none": ["library", "verify", "LIB", ALL],
    "removal": ["library", "rm", "LIB", ALL],
    "another name": ["library", "rename", "LIB", "poetry", ALL],
    "prototypes": ["prototypes", "LIB"],
    "prototypes of none": ["prototypes", "LIB", "--base", ALL],
    "clusters": ["cluster", "LIB", "--num-clusters", "2", "--out", "OUT/x.yaml"],
    "plan of a merge": ["merge", "LIB", "--dry-run"],
    "plan of a merge as JSON": ["merge", "LIB", "--dry-run", "--json"],
    "merge": ["merge", "LIB", "--method", "linear", "--out", "merged"],
    "merge of none": ["merge", "LIB", "--method", ALL, "--experts", ALL, "--out", ALL],
    "difference": ["subtract", "LIB", "poetry", "--out", "OUT/less"],
    "adapter": ["export", "LIB", "poetry", "--out", "OUT/adapter"],
    "answer without a base": ["generate", "LIB", ALL],
    "folder that is missing": ["library", "ls", ALL],
    "option that is unknown": ["library", "ls", "LIB", f"--{ALL}"],
    "options that are missing": ["library", "ls", "--config", ALL],
    "command that is unknown": [ALL],
    "task that is missing": ["train", "LIB", "--tasks", ALL],
    "traceback": ["library", "ls", ALL, "--debug"],
}


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize("what", COMMANDS)
def test_no_command_hands_hostile_text_to_the_terminal(
    lorary, hostile_library, tmp_path, monkeypatch, what, is_terminal
):
    if is_terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "80")
    words = [
        word.replace("LIB", hostile_library.url).replace("OUT", str(tmp_path)) for word in COMMANDS[what]
    ]
    code, output, errors = lorary(*words)
    assert code in (0, 2)
    for text in (output, errors):
        check_screen(OURS.sub("", text) if is_terminal else text)
    assert what == "traceback" or len(errors) < 1500


def test_what_is_shown_can_be_told_from_what_it_stands_for(lorary, hostile_library):
    _, output, _ = lorary("library", "show", hostile_library.url, "poetry")
    for text in HOSTILE:
        assert escape(text, keep="") in output


def test_a_pipe_gets_a_line_for_each_fact_even_where_a_description_has_several(lorary, hostile_library):
    """A description could otherwise look like facts that are none."""
    _, output, _ = lorary("library", "show", hostile_library.url, "poetry")
    assert "\nexpert  fake" not in output
    assert r"\nexpert  fake" in output


def test_json_holds_the_very_values(lorary, hostile_library):
    _, output, _ = lorary("library", "ls", hostile_library.url, "--json")
    card = json.loads(output)[0]["card"]
    assert card["tasks"] == HOSTILE
    assert card["provenance"]["text"] == ALL


def test_a_tables_cell_of_megabytes_is_cut(capsys):
    print_table(["x"], [["y" * 5_000_000]])
    assert len(capsys.readouterr().out) < 30_000


PRINTERS = {
    "line": lambda: print_line(ALL),
    "line on stderr": lambda: print_line(ALL, stderr=True),
    "error": lambda: print_error(f"{ALL}\n{ALL}"),
    "facts": lambda: print_facts([(ALL, ALL)]),
    "json": lambda: print_json({ALL: ALL}),
    "next": lambda: print_next("lorary", ALL),
    "table": lambda: print_table([ALL], [[ALL]]),
    "console": lambda: open_console().print(Text(ALL), ALL),
    "count": lambda: run_in(show_count(ALL, is_transient=True)),
    "status": lambda: run_in(show_status(ALL)),
    "bar": lambda: run_bar(ALL),
    "evaluation": lambda: run_evaluation(ALL),
    "tables of an evaluation": lambda: print_result(make_result(ALL), open_console()),
    "tokens and their experts": lambda: print_routing(make_explanation(ALL), 1),
    "quickstart": lambda: show_outcome(QuickstartPlan(), make_outcome(ALL), Path(ALL)),
}


def make_result(text):
    names = (f"{text} 1", f"{text} 2", "arrow", "uniform")
    # The quickstart reads out how these compare.
    routes = (*names, "calibrated", "multi-task", "oracle")
    rows = [(name, route, "exact_match", 1.0) for name in names for route in routes for _ in range(2)]
    return Result.from_records([*rows, *((name, route, "loss", value) for name, route, _, value in rows)])


def make_explanation(text):
    shares = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    return SimpleNamespace(tokens=[text, text], experts=[text, "b"], shares_per_token=lambda: shares)


def make_outcome(text):
    tokens = (RoutedToken(text, (("plurals", 1.0), ("prices", 0.5))),)
    sample = RoutedSample(text, tokens, (RoutedToken(text, (("prices", 1.0),)),))
    return Outcome(make_result(text), (sample,), 1.0)


def run_in(context):
    with context:
        pass


def run_bar(text):
    with open_bar() as bar:
        bar.add_task(escape(text, keep=""), total=1)


def run_evaluation(text):
    with show_evaluation(text) as show:
        show(SimpleNamespace(num_done=1, num_total=2, route=text))


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize("printer", PRINTERS)
def test_every_way_to_print_escapes(capsys, monkeypatch, printer, is_terminal):
    if is_terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "1000")
    PRINTERS[printer]()
    found = capsys.readouterr()
    shown = found.out + found.err
    check_screen(OURS.sub("", shown) if is_terminal else shown)
    if printer != "json" and (is_terminal or printer not in ("count", "status")):
        assert "[red]x[/red] [link" in OURS.sub("", shown)


def test_nothing_in_this_room_prints_otherwise():
    """Only three files may know ``print``, rich's console and the streams: what they do is tested above."""
    faults = []
    for path in Path(lorary.cli.__file__).parent.rglob("*.py"):
        if path.name in ("console.py", "printing.py", "screen.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if called in ("print", "Console", "Progress", "Status", "Live"):
                faults.append(f"{path.name}:{node.lineno} {called}")
            if isinstance(node, ast.Attribute) and node.attr in ("write", "status", "from_markup"):
                faults.append(f"{path.name}:{node.lineno} .{node.attr}")
    assert faults == []


@pytest.mark.parametrize("text", HOSTILE)
def test_an_answer_is_escaped_on_a_terminal_and_exact_in_a_pipe(capsys, monkeypatch, text):
    with guard_streams():
        print_answer(f"{text}\n\tb")
    assert capsys.readouterr().out == f"{text}\n\tb\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with guard_streams():
        print_answer(f"{text}\n\tb")
    shown = capsys.readouterr().out
    check_screen(shown, keep="\n\t")
    assert shown == f"{escape(text)}\n\tb\n"


def test_what_other_packages_print_is_escaped(capsys):
    import logging
    import sys

    with guard_streams():
        print("plain", ALL, file=sys.stdout)
        sys.stderr.writelines([ALL, "\n"])
        handler = logging.StreamHandler()
        handler.emit(logging.LogRecord("x", 30, "x.py", 1, ALL, (), None))
    found = capsys.readouterr()
    check_screen(found.out + found.err)
    assert found.out.startswith(
        "plain [red]x[/red] [link=https://example.org]y[/link] [/] :smile: \\x1b[31mred"
    )


def test_a_download_may_draw_its_bar_on_a_terminal_only(capsys, monkeypatch):
    import sys

    for is_terminal, shown in (
        (True, "\rhalf\\x1b[2J\x1b[A\x1b[A"),
        (False, "\\rhalf\\x1b[2J\\x1b[A\\x1b[A"),
    ):
        monkeypatch.setattr("sys.stderr.isatty", lambda is_terminal=is_terminal: is_terminal)
        with guard_streams():
            sys.stderr.write("\rhalf\x1b[2J")
            sys.stderr.write("\x1b[A\x1b[A")
        assert capsys.readouterr().err == shown


def test_a_stream_that_is_not_there_takes_everything():
    stream = GuardedStream(None)
    assert stream.write("x") == 1
    stream.writelines(["x"])
    stream.flush()
    assert not stream.isatty()
