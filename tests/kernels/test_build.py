import ctypes
import json
import logging
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch

from lorary.kernels import build, find_operators
from lorary.kernels.cpu import is_compiled_for

REAL = next(filter(None, map(shutil.which, build.COMPILERS)), None)
needs_compiler = pytest.mark.skipif(REAL is None, reason="needs a C++ compiler")


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A cache folder of its own, nothing remembered, and a source that is compiled quickly."""
    source = tmp_path / "source" / "cpu.cpp"
    source.parent.mkdir()
    source.write_text('extern "C" int answer() { return 42; }')
    monkeypatch.setattr(build, "SOURCE", source)
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LORARY_KERNELS", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    build.load_object.cache_clear()
    yield
    build.load_object.cache_clear()


def write_compiler(tmp_path, body):
    path = tmp_path / "my-c++"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    return str(path)


@needs_compiler
def test_the_operators_are_built_once(tmp_path, monkeypatch):
    assert isinstance(build.load_object(), ctypes.CDLL)
    [built] = (tmp_path / "cache" / "kernels").iterdir()
    written = built.stat().st_mtime_ns
    build.load_object.cache_clear()
    monkeypatch.setattr(build, "_build", lambda *_: pytest.fail("built again"))
    assert build.load_object() is not None
    assert built.stat().st_mtime_ns == written


@needs_compiler
def test_threads_are_those_of_pytorch(monkeypatch):
    monkeypatch.setattr(build, "SOURCE", Path(build.__file__).with_name("cpu.cpp"))
    libraries = {
        line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "gomp" in line
    }
    build.load_object()
    after = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "gomp" in line}
    assert after == libraries


def test_zero_in_the_environment_builds_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("LORARY_KERNELS", "0")
    assert build.load_object() is None
    assert not (tmp_path / "cache").exists()


def test_without_a_compiler_there_are_no_operators_and_no_warning(monkeypatch, caplog):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with caplog.at_level(logging.WARNING):
        assert build.load_object() is None
    assert not caplog.records
    assert not is_compiled_for(torch.zeros(1))


def test_a_compiler_that_fails_is_told_once_with_its_reason(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CXX", write_compiler(tmp_path, "import sys; sys.exit('no room on the chip')"))
    assert build.load_object() is None
    assert build.load_object() is None
    [record] = caplog.records
    assert "no room on the chip" in record.getMessage()
    assert "LORARY_KERNELS=0" in record.getMessage()
    assert not list((tmp_path / "cache" / "kernels").iterdir())


def test_a_compiler_that_is_not_there_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CXX", str(tmp_path / "nowhere"))
    assert build.load_object() is None
    assert "nowhere" in caplog.records[0].getMessage()


@needs_compiler
def test_a_compiler_without_openmp_builds_for_one_thread(tmp_path, monkeypatch):
    body = f"""
import os, sys
if {build.OPENMP!r} in sys.argv:
    sys.exit("no OpenMP")
os.execv({REAL!r}, [{REAL!r}, *sys.argv[1:]])
"""
    monkeypatch.setenv("CXX", write_compiler(tmp_path, body))
    assert build.load_object() is not None


@needs_compiler
@pytest.mark.parametrize("arguments", ["", " -DMARK=1 '-DTEXT=two words'"])
def test_cxx_may_have_arguments(tmp_path, monkeypatch, arguments):
    """A CXX of several words was taken for the name of one program."""
    body = f"""
import json, os, sys
with open({str(tmp_path / "called")!r}, "a") as log:
    print(json.dumps(sys.argv[1:]), file=log)
os.execv({REAL!r}, [{REAL!r}, *sys.argv[1:]])
"""
    monkeypatch.setenv("CXX", write_compiler(tmp_path, body) + arguments)
    assert build.load_object() is not None
    given = ["-DMARK=1", "-DTEXT=two words"] if arguments else []
    calls = [json.loads(line) for line in (tmp_path / "called").read_text().splitlines()]
    assert len(calls) == 2
    assert all(call[: len(given)] == given for call in calls)


@needs_compiler
@pytest.mark.parametrize("words", ["", "  "])
def test_an_empty_cxx_is_as_none(monkeypatch, words):
    monkeypatch.setenv("CXX", words)
    assert build.load_object() is not None


def test_a_cxx_whose_quotation_has_no_end_is_told(monkeypatch, caplog):
    monkeypatch.setenv("CXX", "g++ '-DX=1")
    assert build.load_object() is None
    [record] = caplog.records
    assert "No closing quotation" in record.getMessage()


def test_what_a_compiler_says_is_shortened_and_cannot_act_on_a_terminal(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CXX", write_compiler(tmp_path, "import sys; sys.exit('\\x1b[2J' + 10**6 * 'x')"))
    assert build.load_object() is None
    message = caplog.records[0].getMessage()
    assert "\x1b" not in message
    assert len(message) < 1000


def test_a_compiler_that_makes_nothing_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CXX", write_compiler(tmp_path, ""))
    assert build.load_object() is None
    assert "No such file" in caplog.records[0].getMessage()


@needs_compiler
def test_an_object_that_cannot_be_loaded_is_told(tmp_path, monkeypatch, caplog):
    body = """
import sys
open(sys.argv[sys.argv.index("-o") + 1], "w").write("no object")
"""
    monkeypatch.setenv("CXX", write_compiler(tmp_path, body))
    assert build.load_object() is None
    assert "plain PyTorch" in caplog.records[-1].getMessage()
    assert not list((tmp_path / "cache" / "kernels").iterdir())


def test_a_compiler_that_hangs_is_ended_with_all_that_it_started(tmp_path, monkeypatch, caplog):
    """Ending the compiler alone left what it had started, and waited for that."""
    body = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
child.wait()
"""
    monkeypatch.setenv("CXX", write_compiler(tmp_path, body))
    monkeypatch.setattr(build, "TIMEOUT", 2)
    assert build.load_object() is None
    assert "timed out" in caplog.records[0].getMessage()
    child = Path("/proc") / (tmp_path / "child").read_text() / "stat"
    for _ in range(50):
        if not child.exists() or child.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("still running")


@needs_compiler
def test_a_compiler_that_was_replaced_builds_anew(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "CXX", write_compiler(tmp_path, f"import os, sys; os.execv({REAL!r}, [{REAL!r}, *sys.argv[1:]])")
    )
    first = build._compute_key(build.find_compiler(), build.FLAGS)
    assert build._compute_key(build.find_compiler(), build.FLAGS) == first
    (tmp_path / "my-c++").write_text("another one")
    assert build._compute_key(build.find_compiler(), build.FLAGS) != first


@pytest.mark.parametrize("wish", ["1", "off", "Triton", "\x1b[2J", "x" * 10_000], ids=range(5))
def test_a_wish_without_a_meaning_is_refused(monkeypatch, wish):
    monkeypatch.setenv("LORARY_KERNELS", wish)
    for read in (build.load_object, lambda: find_operators(torch.zeros(1))):
        with pytest.raises(
            ValueError, match="LORARY_KERNELS must be 0 or triton, or not set, found"
        ) as caught:
            read()
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()


def test_an_empty_wish_is_none(monkeypatch):
    monkeypatch.setenv("LORARY_KERNELS", "")
    assert build.read_wish() is None
