"""The kernel cache: only what this user wrote is loaded, as it was written; the rest is built anew."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lorary.files import whole
from lorary.kernels import build, object_cache
from tests.kernels.object_damages import DAMAGES, find_object, flip_bit

pytestmark = pytest.mark.skipif(not any(map(shutil.which, build.COMPILERS)), reason="needs a C++ compiler")

# A new process mixes by compiled operators and by the reference.
SCRIPT = """
import torch
from lorary.kernels import cpu
from lorary.kernels.cpu import is_compiled_for
from lorary.models.mix_reference import mix_reference
assert is_compiled_for(torch.zeros(1))
torch.manual_seed(0)
x, a, b_t, weights = (torch.randn(size) for size in ((3, 8), (4, 2, 8), (4, 2, 9), (3, 2)))
tensors = x, a, b_t, torch.randint(4, (3, 2)), weights
torch.testing.assert_close(cpu.mix_rows(*tensors, None, "outputs"), mix_reference(*tensors, "outputs"))
print("right")
"""


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


@pytest.fixture
def cache(tmp_path):
    """A cache folder with one object in it, to be damaged; not the file that this process has loaded."""
    load_answer()
    build.load_object.cache_clear()
    place = find_object(tmp_path / "cache")
    shutil.copy2(place, tmp_path / "copy")
    # Damaged in place, the loaded file ended the process by a segmentation fault.
    os.replace(tmp_path / "copy", place)
    return tmp_path / "cache"


def load_answer():
    loaded = build.load_object()
    assert loaded.answer() == 42
    return loaded


def run_fresh(cache, **environment):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "LORARY_CACHE": str(cache), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_object_is_never_loaded_but_built_anew(cache, damage, monkeypatch):
    """A damaged object crashed the process, or was run, as whatever it was."""
    place = find_object(cache)
    good = place.read_bytes()
    DAMAGES[damage](place)
    loaded = []
    load = object_cache.ctypes.CDLL
    monkeypatch.setattr(
        object_cache.ctypes, "CDLL", lambda path: loaded.append(Path(path).read_bytes()) or load(path)
    )
    load_answer()
    assert loaded == [good] or damage == "unreadable"  # which root can read
    assert find_object(cache).read_bytes() == good


def test_a_fresh_process_computes_right_after_damage(tmp_path):
    assert run_fresh(tmp_path / "cache").stdout == "right\n"
    place = find_object(tmp_path / "cache")
    good = place.read_bytes()
    flip_bit(place)
    assert run_fresh(tmp_path / "cache").stdout == "right\n"
    assert find_object(tmp_path / "cache").read_bytes() == good


def test_an_object_that_the_loader_refuses_is_built_once_more(cache, monkeypatch):
    load, tried = object_cache.ctypes.CDLL, []

    def refuse_first(path):
        tried.append(path)
        if len(tried) == 1:
            raise OSError("wrong ELF class")
        return load(path)

    monkeypatch.setattr(object_cache.ctypes, "CDLL", refuse_first)
    load_answer()
    assert len(tried) == 2


def test_an_object_that_the_loader_always_refuses_is_told_once(cache, monkeypatch, caplog):
    def refuse(path):
        raise OSError("wrong ELF class")

    monkeypatch.setattr(object_cache.ctypes, "CDLL", refuse)
    assert build.load_object() is None
    [record] = caplog.records
    assert "plain PyTorch" in record.getMessage()
    assert "wrong ELF class" in record.getMessage()


def test_folder_and_object_are_this_users_alone(tmp_path):
    folder = tmp_path / "cache" / "kernels"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    load_answer()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not find_object(tmp_path / "cache").stat().st_mode & 0o022


def test_a_folder_that_is_a_link_is_not_used(tmp_path, caplog):
    (tmp_path / "cache").mkdir()
    (tmp_path / "theirs").mkdir(mode=0o700)
    (tmp_path / "cache" / "kernels").symlink_to(tmp_path / "theirs")
    load_answer()
    assert not list((tmp_path / "theirs").iterdir())
    [record] = caplog.records
    assert "LORARY_CACHE" in record.getMessage()


@pytest.mark.parametrize("owner", ["folder", "object"])
def test_what_another_user_owns_is_not_used(cache, owner, monkeypatch, caplog):
    """Not even if its hash is right: anyone can make that."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give things away")
    place = find_object(cache)
    os.chown(place.parent if owner == "folder" else place, 1234, 1234)
    built = []
    monkeypatch.setattr(build, "_build", lambda *inputs, make=build._build: built.append(1) or make(*inputs))
    load_answer()
    assert built == [1]
    assert (len(caplog.records) == 1) == (owner == "folder")


def test_a_folder_that_is_exchanged_after_it_was_checked_is_not_used(cache, tmp_path, monkeypatch):
    folder = object_cache.open_folder()
    folder.rename(tmp_path / "away")
    (tmp_path / "away").chmod(0o755)
    folder.symlink_to(tmp_path / "away")
    key = next((tmp_path / "away").iterdir()).name.split("-")[1]
    assert object_cache.load_kept(folder, key) is None
    folder.unlink()
    (tmp_path / "away").rename(folder)
    assert object_cache.load_kept(folder, key) is None
    folder.chmod(0o700)
    assert object_cache.load_kept(folder, key) is not None


@pytest.mark.parametrize("blocked", ["a file", "no home"])
def test_without_a_folder_operators_are_built_for_the_process_and_leave_nothing(
    tmp_path, monkeypatch, caplog, blocked
):
    if blocked == "a file":
        (tmp_path / "cache").write_text("")
    else:
        monkeypatch.delenv("LORARY_CACHE")
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    load_answer()
    [record] = caplog.records
    assert "cannot be kept" in record.getMessage()
    assert not list((tmp_path / "scratch").iterdir())


def test_a_full_disk_is_told_and_operators_are_there(tmp_path, monkeypatch, caplog):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole.os, "fsync", fail)
    load_answer()
    [record] = caplog.records
    assert "No space left" in record.getMessage()
    assert not list((tmp_path / "cache" / "kernels").iterdir())


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_process_that_ends_at_any_step_leaves_nothing_or_all(tmp_path, monkeypatch, call):
    """Only what is whole has a name that is looked for; what else is left is no object."""

    def end(*_, **__):
        raise Killed

    monkeypatch.setattr(whole.os, call, end)
    monkeypatch.setattr(
        whole.os,
        "unlink",
        lambda path, real=os.unlink, **o: None if ".lorary-" in str(path) else real(path, **o),
    )
    with pytest.raises(Killed):
        build.load_object()
    monkeypatch.undo()
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "SOURCE", tmp_path / "source" / "cpu.cpp")
    left = list((tmp_path / "cache" / "kernels").iterdir())
    assert all(place.name.startswith(".lorary-") for place in left)
    load_answer()


def test_what_killed_processes_left_is_removed_once_it_is_old(tmp_path):
    folder = tmp_path / "cache" / "kernels"
    folder.mkdir(parents=True)
    for name in (".new-old", ".new-young"):
        (folder / name).mkdir()
        (folder / name / "cpu.o").write_text("half")
    (folder / ".lorary-old").write_text("half")
    (folder / "kept.txt").write_text("not ours to remove")
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text("")
    (folder / ".new-link").symlink_to(target)
    for name in (".new-old", ".lorary-old", ".new-link", "kept.txt"):
        os.utime(folder / name, (0, 0), follow_symlinks=False)
    load_answer()
    left = {place.name for place in folder.iterdir() if not place.name.startswith("cpu-")}
    assert left == {".new-young", "kept.txt"}
    assert (target / "file").exists()


def test_two_processes_that_build_at_once_are_both_right(tmp_path):
    script = (
        "import pathlib, sys; from lorary.kernels import build; build.SOURCE = pathlib.Path(sys.argv[1]); "
        "print(build.load_object().answer())"
    )
    command = [sys.executable, "-c", script, str(build.SOURCE)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0] for process in both] == ["42\n"] * 2
    assert find_object(tmp_path / "cache")
