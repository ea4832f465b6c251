"""The runner finds what it is there to find: readers that crash, hang, swallow, blab or do harm."""

import json
import os
import signal
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from lorary.errors import FormatError
from tests.hostile.reader import Reader
from tests.hostile.runner import prepare, try_all
from tests.hostile.surroundings import Surroundings, write_bulk


def make(folder: Path) -> None:
    (folder / "x.json").write_text('{"a": 1, "b": [2]}')


def is_good(folder: Path) -> bool:
    path = folder / "x.json"
    return path.is_file() and not path.is_symlink() and path.read_bytes() == b'{"a": 1, "b": [2]}'


def refuse(message: str):
    def read(folder: Path) -> str:
        if not is_good(folder):
            raise FormatError(message)
        return "good"

    return read


def react(what):
    def read(folder: Path) -> str:
        if is_good(folder):
            return "good"
        return what(folder)

    return read


def do_harm(folder: Path) -> str:
    (folder.parent / "elsewhere/secret.txt").unlink(missing_ok=True)
    raise FormatError("refused, but too late")


def grow(folder: Path) -> str:
    return str(len(bytearray(1_200_000_000)))


def fail(folder: Path) -> str:
    raise KeyError("x")


BAD = {
    "traceback": fail,
    "crash": lambda folder: os.kill(os.getpid(), signal.SIGSEGV),
    "too slow": lambda folder: time.sleep(60),
    "too large": grow,
    "harm": do_harm,
    "silent accept": lambda folder: "another",
    "unsound": lambda folder: 7,
}


@pytest.fixture(scope="module")
def bulk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bulk") / "bulk"
    write_bulk(folder, size=1 << 16)
    return folder


@pytest.fixture
def try_reader(tmp_path, bulk, monkeypatch):
    """Tries a few inputs of a reader; gives their outcomes."""
    for name in ("HOME", "TMPDIR", "LORARY_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(read, numbers=range(3)):
        def check(result):
            assert isinstance(result, str)

        reader = Reader(
            name="any", room="files", make=make, read=read, check=check, answer=str, sealed=("*",)
        )
        around = Surroundings(tmp_path / "world", bulk)
        prepared = prepare(reader, tmp_path / "good", around)
        return list(try_all(prepared, numbers, around, 0))

    return run


def test_a_reader_that_refuses_everything_has_no_findings(try_reader):
    outcomes = try_reader(refuse("no"), range(40))
    assert {outcome.verdict for outcome in outcomes} <= {"refused", "accepted"}
    assert [outcome.number for outcome in outcomes] == list(range(40))


@pytest.mark.parametrize("fault", BAD)
def test_a_reader_that_behaves_badly_is_found_out(try_reader, fault):
    numbers = [7] if fault == "too slow" else [7, 8]
    outcomes = try_reader(react(BAD[fault]), numbers)
    assert [(outcome.number, outcome.fault) for outcome in outcomes] == [
        (number, fault) for number in numbers
    ]


@pytest.mark.parametrize("message", ["x" * 3000, "red \x1b[31m", "\u202egnp", "half \ud800"])
def test_a_message_that_cannot_be_shown_is_found_out(try_reader, message):
    assert {outcome.fault for outcome in try_reader(refuse(message), [7])} == {"message"}


def test_outcomes_are_plain_values(try_reader):
    [outcome] = try_reader(refuse("no"), [7])
    assert json.loads(json.dumps(asdict(outcome)))["verdict"] == "refused"
