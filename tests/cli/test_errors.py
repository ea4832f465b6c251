import errno
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lorary.cli.errors import explain, report_errors


def fail_with(error):
    def action():
        raise error

    return action


def test_what_went_well_returns_its_own_code():
    assert report_errors(lambda: 0, debug=False) == 0
    assert report_errors(lambda: 2, debug=False) == 2


@pytest.mark.parametrize(
    "words", [["--debug", "library", "ls", "missing"], ["library", "ls", "missing", "--debug"]]
)
def test_debug_shows_the_traceback_wherever_it_stands(lorary, words):
    code, _, errors = lorary(*words)
    assert code == 2
    assert "Traceback" in errors
    assert "error: there is no library at 'missing'" in errors


def test_without_debug_there_is_one_paragraph(lorary):
    code, output, errors = lorary("library", "ls", "missing")
    assert (code, output) == (2, "")
    assert errors.startswith("error: there is no library at 'missing'")
    assert errors.count("\n") == 1


def test_a_full_disk_is_explained():
    assert explain(OSError(errno.ENOSPC, "No space left on device", "lib/x")) == (
        "No space left on device: 'lib/x': "
        "free some disk space and run the same command again; finished work is kept"
    )


def test_an_error_without_words_is_named():
    assert explain(ValueError()) == "ValueError"


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(capsys):
    assert report_errors(fail_with(KeyboardInterrupt()), debug=False) == 130
    assert capsys.readouterr().err == (
        "\nstopped: finished work is kept; run the same command again to continue\n"
    )


def test_who_is_interrupted_may_say_more(capsys):
    assert report_errors(fail_with(KeyboardInterrupt("3 of 8 experts are stored")), debug=False) == 130
    assert capsys.readouterr().err == "\nstopped: 3 of 8 experts are stored\n"


class Panic(BaseException):
    """What packages written in Rust raise; it is no ``Exception``."""


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def fail_deeply():
    return fail_deeply()


def fail_elsewhere():
    json.loads("[" * 100 + "x")


def fail_at_a_file(path="lib/\x1b[31mexpert.json"):
    raise KeyError(path)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (fail_with(KeyError("bug")), "'bug' (KeyError in "),
        (fail_with(AssertionError()), "AssertionError (AssertionError in "),
        (fail_with(MemoryError()), "MemoryError (MemoryError in "),
        (fail_with(OverflowError("int too large")), "int too large (OverflowError in "),
        (fail_with(SystemExit(3)), "3 (SystemExit in "),
        (fail_with(SystemExit("words of a package")), "words of a package (SystemExit in "),
        (fail_with(Panic("called `unwrap` on None")), "called `unwrap` on None (Panic in "),
        (fail_with(Mute()), "Mute (Mute in "),
        (fail_with(GeneratorExit()), "GeneratorExit (GeneratorExit in "),
        (fail_with(UserWarning("warnings are errors")), "warnings are errors (UserWarning in "),
        (fail_deeply, "maximum recursion depth exceeded (RecursionError in "),
        (
            fail_elsewhere,
            "Expecting value: line 1 column 101 (char 100) (JSONDecodeError in json/decoder.py:",
        ),
        (fail_with(UnicodeEncodeError("ascii", "\x9b", 0, 1, "no")), "codec can't encode character '\\x9b'"),
    ],
)
def test_an_error_that_is_not_ours_names_its_place_in_one_line(capsys, action, message):
    """Of 174,000 calls with hostile files, 2,775 ended with a traceback."""
    assert report_errors(action, debug=False) == 2
    output, errors = capsys.readouterr()
    assert (output, errors.count("\n")) == ("", 1)
    assert message in errors
    assert "run the same command with --debug" in errors


def test_a_package_that_is_missing_is_to_be_installed(lorary, library):
    code, _, errors = lorary("merge", library.url, "--out", "s3://bucket/expert")
    assert (code, errors.startswith("error: Install s3fs to access S3 (ImportError in ")) == (2, True)
    assert errors.endswith(": install the missing package\n")


def test_a_network_that_fails_is_told_from_a_bug():
    failed = type("ConnectError", (Exception,), {"__module__": "httpx"})("Name or service not known")
    said = explain(failed)
    assert said.startswith("Name or service not known (ConnectError") and "bug" not in said
    assert said.endswith(": check the address and the network connection")


def test_an_error_names_our_line_that_led_there_and_the_file_at_hand(lorary, library, monkeypatch):
    def fail(content, path):
        raise KeyError("x" * 5000)

    monkeypatch.setattr("lorary.library.catalog.parse_entry", lambda name, path, *files: fail(b"", path))
    code, _, errors = lorary("library", "ls", library.url)
    assert code == 2
    assert re.search(
        r"\(KeyError in \S*test_errors.py:\d+, called from lorary/library/catalog.py:\d+", errors
    )
    assert len(errors) < 1500


def test_the_file_at_hand_is_quoted(monkeypatch):
    monkeypatch.setattr("lorary.cli.errors.PACKAGE", Path(__file__).parent)
    with pytest.raises(KeyError) as caught:
        fail_at_a_file()
    assert r"working on 'lib/\x1b[31mexpert.json')" in explain(caught.value)


@pytest.mark.parametrize(
    "error", [ValueError("x" * 100_000), KeyError("x" * 100_000), OSError("x" * 100_000)]
)
def test_a_message_is_short_whatever_it_quotes(capsys, error):
    assert report_errors(fail_with(error), debug=False) == 2
    assert len(capsys.readouterr().err) < 1100


def test_debug_shows_where_a_bug_is_and_escapes_what_it_quotes(capsys):
    assert report_errors(fail_with(KeyError("\x1b[31m\u202e")), debug=True) == 2
    errors = capsys.readouterr().err
    assert "Traceback" in errors and "raise error" in errors
    assert "\x1b" not in errors and "\u202e" not in errors


def test_a_second_ctrl_c_while_the_first_is_explained_is_quiet(capsys, monkeypatch):
    monkeypatch.setattr("lorary.cli.errors.print_error", fail_with_any(KeyboardInterrupt()))
    assert report_errors(fail_with(KeyboardInterrupt()), debug=False) == 130
    assert capsys.readouterr() == ("", "")


def fail_with_any(error):
    def action(*arguments):
        raise error

    return action


RUN = "import sys; from lorary.cli import main; sys.exit(main(sys.argv[1:]))"


def run_apart(*words, redirect="", **environment):
    """Run the command line in a process of its own; returns its exit code, stdout and stderr as bytes."""
    line = shlex.join([sys.executable, "-c", RUN, *words])
    done = subprocess.run(
        ["sh", "-c", f"{line} {redirect}"],
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "redirect", "code"),
    [
        (["--help"], ">/dev/full", 2),
        (["--help"], ">&-", 0),
        (["--help"], "<&- >&- 2>&-", 0),
        (["library", "ls", "nowhere"], "2>&-", 2),
        (["library", "ls", "nowhere"], "2>/dev/full", 2),
        (["library", "ls", "nowhere", "--debug"], "2>/dev/full", 2),
        (["library", "ls", "nowhere"], ">/dev/full 2>/dev/full", 2),
    ],
)
def test_streams_that_are_closed_or_full_change_no_exit_code(words, redirect, code):
    found, _, errors = run_apart(*words, redirect=redirect)
    assert found == code
    assert b"Traceback" not in errors and b"Exception ignored" not in errors


def test_a_file_never_gets_the_number_of_a_stream_that_is_closed(tmp_path, library):
    """Messages of C libraries would be written into it."""
    code = (
        "import os, sys; from lorary.cli.screen import guard_streams\n"
        "with guard_streams(): number = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
        "sys.exit(number > 2)"
    )
    line = shlex.join([sys.executable, "-c", code, str(tmp_path / "x")])
    assert subprocess.run(["sh", "-c", f"{line} >&- 2>&-"], check=False).returncode == 1


def test_a_stream_that_lacks_characters_gets_escapes():
    code, output, errors = run_apart("library", "ls", "é漢", PYTHONIOENCODING="ascii", LANG="C")
    assert (code, output) == (2, b"")
    assert b"there is no library at '\\xe9\\u6f22'" in errors


def test_arguments_that_are_no_text_are_named():
    code, _, errors = run_apart("library", "ls", "--task", os.fsdecode(b"a\xff"), "lib", PYTHONUTF8="1")
    assert (code, errors) == (
        2,
        b"error: argument 'a\\udcff' must be UTF-8 text: correct it, or rename the file\n",
    )


def test_a_table_whose_reader_leaves_early_ends_the_command(library):
    """rich would end the process with exit code 1."""
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-c", RUN, "library", "ls", library.url]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_broken_pipe_that_is_not_ours_is_explained(capsys):
    assert report_errors(fail_with(BrokenPipeError(errno.EPIPE, "Broken pipe")), debug=False) == 2
    assert capsys.readouterr().err == "error: Broken pipe\n"


def test_a_reader_that_leaves_early_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from lorary.cli import main; sys.exit(main(['--help']))"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
