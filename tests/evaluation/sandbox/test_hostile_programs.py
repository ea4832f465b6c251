"""Programs that attack: none passes, none harms, and each ends in time."""

import os
import socket
import time
from pathlib import Path

import pytest

from lorary.evaluation.sandbox import Limits, Program
from lorary.evaluation.sandbox.checking import find_layers
from lorary.evaluation.sandbox.process import run_program
from tests.evaluation.sandbox.attacks import ATTACKS

QUICK = Limits(wall_seconds=3, cpu_seconds=1, memory_mb=256, file_mb=1, folder_mb=4, num_processes=4)
TESTS = "assert f(1) == [1, 'one']\nassert abs(g() - 2.5) < 1e-6"
RIGHT = "def f(x): return [1, 'one']\ndef g(): return 2.5\n"


@pytest.fixture(scope="session")
def layers():
    return find_layers()


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_passes(attack, layers):
    began = time.monotonic()
    verdict = run_program(Program(code=ATTACKS[attack].code, tests=TESTS), QUICK, layers)
    assert verdict.outcome in ATTACKS[attack].outcomes, verdict
    assert time.monotonic() - began < QUICK.wall_seconds + 20


def test_the_right_program_passes(layers):
    assert run_program(Program(code=RIGHT, tests=TESTS), QUICK, layers).is_passed


def test_files_of_others_are_neither_seen_nor_deleted(tmp_path, layers):
    secret = tmp_path / "secret.txt"
    secret.write_text("precious")
    tmp_path.chmod(0o777)
    code = (
        f"import os, shutil\nshutil.rmtree({str(tmp_path)!r}, ignore_errors=True)\n"
        f"found = os.path.exists({str(secret)!r})\n"
        f"def f():\n    try: return open({str(secret)!r}).read()\n    except OSError: return 'none'\n"
        "def home(): return any(os.access(p, os.W_OK) for p in ('/', '/usr/lib', '/lib', '/etc'))"
    )
    tests = "assert f() == 'none'\nassert not home()"
    assert run_program(Program(code=code, tests=tests), QUICK, layers).is_passed
    assert secret.read_text() == "precious"


def test_the_folder_is_empty_and_gone_afterwards(layers):
    code = "import os\nbefore = os.listdir('.')\nopen('left', 'w').write('x')\nhere = os.getcwd()"
    program = Program(code=code, tests="assert before == [] and open is not None\nassert here")
    assert run_program(program, QUICK, layers).is_passed
    assert run_program(program, QUICK, layers).is_passed


def test_there_is_no_network(layers):
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = (
            "import socket\ndef f():\n    try:\n"
            f"        socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), timeout=1)\n"
            "    except OSError as error: return 'refused'\n    return 'connected'"
        )
        assert run_program(Program(code=code, tests="assert f() == 'refused'"), QUICK, layers).is_passed


def test_nothing_of_the_environment_or_of_other_processes_is_seen(monkeypatch, layers):
    monkeypatch.setenv("LORARY_TEST_SECRET", "precious")
    code = (
        "import os, glob\ndef f():\n    found = repr(dict(os.environ))\n"
        "    for path in [*glob.glob('/proc/*/environ'), *glob.glob('/proc/*/cmdline')]:\n"
        "        try: found += open(path).read()\n        except OSError: pass\n    return found\n"
        f"def memory():\n    try: return open('/proc/{os.getpid()}/mem', 'rb') and 'open'\n"
        "    except OSError: return 'closed'"
    )
    tests = "assert 'SECRET' not in f() and 'pytest' not in f()\nassert memory() == 'closed'"
    assert run_program(Program(code=code, tests=tests), QUICK, layers).is_passed


def test_no_other_process_is_ended(layers):
    """Neither its parent, nor the process that asked, nor all processes."""
    code = (
        "import os, signal\n"
        f"for process in (os.getppid(), {os.getpid()}, {os.getppid()}, -1, 0, 1):\n"
        "    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):\n"
        "        try: os.kill(process, number)\n        except OSError: pass\n" + RIGHT
    )
    assert run_program(Program(code=code, tests=TESTS), QUICK, layers).is_passed


def test_no_process_is_left(tmp_path, layers):
    """Daemons of a daemon, in sessions of their own, end with the sandbox."""
    mark = f"lorary-left-{os.getpid()}-{time.monotonic_ns()}"
    code = (
        "import os, time, ctypes\nif not os.fork():\n    os.setsid()\n    if not os.fork():\n"
        f"        ctypes.CDLL(None).prctl(15, {mark[-15:].encode()!r}, 0, 0, 0)\n        time.sleep(1000)\n"
        "    os._exit(0)\n" + RIGHT
    )
    assert run_program(Program(code=code, tests=TESTS), QUICK, layers).is_passed
    names = [path.read_text().strip() for path in Path("/proc").glob("[0-9]*/comm") if path.exists()]
    assert mark[-15:] not in names


def test_tests_of_a_data_set_are_confined_too(layers):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        tests = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=1)"
        verdict = run_program(Program(code="", tests=tests), QUICK, layers)
    assert verdict.outcome == "error"
    forged = "import os\nfor fd in range(200):\n    try: os.write(fd, bytes(10**6))\n    except OSError: pass"
    assert not run_program(Program(code="", tests=forged), QUICK, layers).is_passed
