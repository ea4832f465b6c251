import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import lorary
from lorary.errors import LoraryError
from lorary.evaluation.sandbox import Limits, Program, Verdict, check_programs, checking
from lorary.evaluation.sandbox.checking import CHOICES, describe_missing, find_layers
from lorary.evaluation.sandbox.process import Layers, SandboxFailure, run_program
from tests.evaluation.sandbox.attacks import ATTACKS

RIGHT = Program(code="def f(x): return x + 1", tests="assert f(1) == 2")
WRONG = Program(code="def f(x): return x", tests="assert f(1) == 2, 'one more'")
NOTHING = Layers(namespaces=False, seccomp=False, landlock=False)
SOME = ("exit at once", "an answer that equals everything")


def test_verdicts_are_in_the_order_of_the_programs_and_equal_ones_are_run_once(monkeypatch):
    runs = []

    def run(program, limits, layers):
        runs.append(program)
        return Verdict(outcome="passed" if program is RIGHT else "failed")

    monkeypatch.setattr(checking, "run_program", run)
    monkeypatch.setattr(checking, "find_layers", lambda: NOTHING)
    verdicts = check_programs([WRONG, RIGHT, WRONG], allow_code=True)
    assert [verdict.is_passed for verdict in verdicts] == [False, True, False]
    assert len(runs) == 2


def test_verdicts_say_why():
    broken = Program(code="def f(:", tests="f()")
    other = Program(code="x = 1", tests="f(1)")
    raising = Program(code="class Own(KeyError): pass\ndef f(x): raise Own('k')", tests="f(1)")
    verdicts = check_programs([RIGHT, WRONG, broken, other, raising], allow_code=True)
    assert verdicts[:2] == [Verdict(outcome="passed"), Verdict(outcome="failed", message="one more")]
    assert [verdict.outcome for verdict in verdicts[2:]] == ["error"] * 3
    assert verdicts[2].message.startswith("SyntaxError: invalid syntax")
    assert verdicts[3].message == "NameError: name 'f' is not defined"
    assert verdicts[4].message == "KeyError: \"Own: 'k'\""


def test_code_is_run_only_if_it_is_allowed():
    with pytest.raises(
        ValueError, match="run code that the model wrote, in a sandbox: allow it with --allow-c"
    ):
        check_programs([RIGHT])


def test_limits_are_checked_all_at_once():
    expected = (
        "limits of a program: wall_seconds must be positive; memory_mb must be at least 64: Python itself"
    )
    with pytest.raises(ValueError, match=expected):
        Limits(wall_seconds=0, memory_mb=8)
    with pytest.raises(ValueError, match="cpu_seconds must be at least 1"):
        Limits(cpu_seconds=0.5)


def test_a_machine_without_a_working_sandbox_is_told(monkeypatch):
    def fail(*_args):
        raise SandboxFailure("OSError: [Errno 1] no forks")

    monkeypatch.setattr(checking, "run_program", fail)
    with pytest.raises(LoraryError, match=r"no sandbox works on this machine: .*no forks"):
        find_layers.__wrapped__()


def test_weaker_protection_is_told(monkeypatch):
    def run(program, limits, layers):
        if layers != NOTHING:
            raise SandboxFailure("no")
        return Verdict(outcome="passed" if "== 4" in program.tests else "failed")

    monkeypatch.setattr(checking, "run_program", run)
    with pytest.warns(
        UserWarning, match="can read and change files of the user who runs them .*, and can use the n"
    ):
        assert find_layers.__wrapped__() == NOTHING
    assert [bool(describe_missing(layers)) for layers in CHOICES] == [False, False, False, True, True, True]


def test_a_sandbox_that_passes_everything_or_nothing_is_not_used(monkeypatch):
    monkeypatch.setattr(checking, "run_program", lambda *_args: Verdict(outcome="passed"))
    with pytest.raises(LoraryError, match="no sandbox works on this machine: a trial passed"):
        find_layers.__wrapped__()


def test_without_namespaces_seccomp_and_landlock_confine(tmp_path):
    layers = Layers(namespaces=False, seccomp=True, landlock=True)
    if checking._find_fault(layers):
        pytest.skip("this machine has no seccomp or no Landlock")
    tmp_path.chmod(0o777)
    (tmp_path / "secret.txt").write_text("precious")
    code = f"""
import os, socket
def attempt(action, *args):
    try: action(*args)
    except OSError: return 'refused'
    return 'done'
def f():
    open('own', 'w').write('x')
    return [attempt(*words) for words in [
        (os.kill, {os.getpid()}, 0), (os.kill, os.getppid(), 0), (open, {str(tmp_path / "secret.txt")!r}),
        (os.unlink, {str(tmp_path / "secret.txt")!r}), (socket.socket,),
        (open, '/proc/{os.getpid()}/environ'),
    ]]
"""
    tests = "assert f() == ['refused'] * 6, f()"
    assert run_program(Program(code=code, tests=tests), Limits(), layers) == Verdict(outcome="passed")


# Landlock lets the first five through, for the user who owns the file.
CHANGES = """
import os
def attempt(action, *args):
    try: action(*args)
    except OSError: return 'refused'
    return 'done'
def f(path, process):
    return [attempt(*words) for words in [
        (os.chmod, path, 0o777), (os.truncate, path, 1), (os.utime, path), (os.chown, path, os.getuid(), -1),
        (os.setxattr, path, 'user.x', b'1'), (os.sched_setaffinity, process, [0]),
    ]]
"""


@pytest.fixture
def open_folder():
    """A folder that other users can read, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("layers", [CHOICES[0], CHOICES[2], NOTHING], ids=str)
def test_an_ordinary_user_has_a_sandbox_too(layers, open_folder):
    """Root starts a process of another user, with Python at a place that all can read."""
    if os.getuid():
        pytest.skip("this test becomes another user: the other tests are an ordinary user's already")
    script, own = open_folder / "script.py", open_folder / "own"
    own.mkdir()
    own.chmod(0o777)
    script.write_text(
        "from lorary.evaluation.sandbox import Limits, Program\n"
        "from lorary.evaluation.sandbox.process import Layers, run_program\n"
        "from tests.evaluation.sandbox.attacks import ATTACKS\n"
        f"limits = Limits(wall_seconds=5, cpu_seconds=1, memory_mb=256)\nlayers = {layers!r}\n"
        f"codes = [ATTACKS[name].code for name in {SOME!r}] + ['def f(x): return [1, \"one\"]']\n"
        "tests = \"assert f(1) == [1, 'one']\"\n"
        "programs = [Program(code=code, tests=tests) for code in codes]\n"
        f"import os; path = '{own}/mine'; open(path, 'w').write('precious')\n"
        "tests = f\"assert f({path!r}, {os.getpid()}) == ['refused'] * 6\"\n"
        f"programs.append(Program(code={CHANGES!r}, tests=tests))\n"
        "print([run_program(program, limits, layers).outcome for program in programs])\n"
    )
    words = [*become_other_user(open_folder), str(script)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"root may not make a file system of its own here: {done.stderr}")
    outcomes = eval(done.stdout or "[]")
    changes = outcomes.pop() if outcomes else None
    assert changes == ("failed" if layers is NOTHING else "passed"), done.stderr
    assert outcomes[-1:] == ["passed"], done.stderr
    assert all(outcome in ATTACKS[name].outcomes for name, outcome in zip(SOME, outcomes, strict=False))


def become_other_user(folder):
    """Write the command that starts Python as another user; Python and packages may be in root's home."""
    python = folder / "python"
    python.mkdir()
    packages = [path for path in sys.path if path.endswith("site-packages")]
    program = python / "bin" / Path(os.path.realpath(sys.executable)).name
    paths = ":".join([str(Path(lorary.__file__).parents[1]), *packages])
    script = (
        f"mount --make-rprivate / && mount --bind {sys.base_prefix} {python} && exec setpriv --reuid 65534 "
        f'--regid 65534 --clear-groups env -i PATH=/usr/bin:/bin PYTHONPATH={paths} {program} -B "$@"'
    )
    return ["unshare", "-m", "sh", "-c", script, "sh"]
