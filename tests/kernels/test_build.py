import ctypes
import logging
import shutil
import sys
from pathlib import Path

import pytest
import torch

from lorary.kernels import build, is_compiled_for

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, build.COMPILERS)), reason="needs a C++ compiler"
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A cache folder of its own, and nothing remembered before or after."""
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
def test_threads_are_those_of_pytorch():
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
    real = next(filter(None, map(shutil.which, build.COMPILERS)))
    body = f"""
import os, sys
if {build.OPENMP!r} in sys.argv:
    sys.exit("no OpenMP")
os.execv({real!r}, [{real!r}, *sys.argv[1:]])
"""
    monkeypatch.setenv("CXX", write_compiler(tmp_path, body))
    assert build.load_object() is not None


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "file"))
    if any(map(shutil.which, build.COMPILERS)):
        assert build.load_object() is None
        assert len(caplog.records) == 1
