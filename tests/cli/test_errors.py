import errno
import os
import subprocess
import sys

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
        "free some space and run the same command again: what was finished is kept"
    )


def test_an_error_without_words_is_named():
    assert explain(ValueError()) == "ValueError"


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(capsys):
    assert report_errors(fail_with(KeyboardInterrupt()), debug=False) == 130
    assert capsys.readouterr().err == (
        "\nstopped: what was finished is kept; run the same command again to go on\n"
    )


def test_who_is_interrupted_may_say_more(capsys):
    assert report_errors(fail_with(KeyboardInterrupt("3 of 8 experts are stored")), debug=False) == 130
    assert capsys.readouterr().err == "\nstopped: 3 of 8 experts are stored\n"


def test_a_bug_is_not_dressed_up_as_an_error_of_the_user():
    with pytest.raises(KeyError):
        report_errors(fail_with(KeyError("bug")), debug=False)


def test_a_reader_that_leaves_early_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from lorary.cli import main; sys.exit(main(['--help']))"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
