"""Links, pipes, sockets and folders where a file should be, files where a folder should be, hostile names."""

import os
import shutil
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.hostile.surroundings import Surroundings
from tests.hostile.value_kinds import CannotApply

NAMES = (
    "CON",
    "aux.txt",
    "name.",
    "name ",
    "LAW",
    "Poetry",
    "e\u0301",
    "\u00e9",
    "a\x1b[31mb",
    "a\nb",
    "\u202egnp",
    "zero\u200bwidth",
    "-rf",
    "--help",
    ".hidden",
    "_private",
    "a" * 200,
    "[x]*?",
    "ł" * 100,
    "~",
    "a;b",
    "$(touch here)",
    b"\xff\xfe".decode("utf-8", "surrogateescape"),
    "[bold]x[red]",
)


def clear(path: Path) -> None:
    """Remove a file or folder, if it is there; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _link(path: Path, target: str | Path) -> None:
    clear(path)
    os.symlink(target, path)


def link_to_good(path: Path, rng: Random, around: Surroundings) -> None:
    """Be a link to a copy of itself elsewhere."""
    copy = around.inputs / f"copy-{path.name}"
    path.rename(copy)
    _link(path, rng.choice((copy, os.path.relpath(copy, path.parent))))


def link_elsewhere(path: Path, rng: Random, around: Surroundings) -> None:
    """Be a link to what nobody gave."""
    places = [around.elsewhere, around.elsewhere / "notes", around.home / "site-packages", around.home]
    files = [around.elsewhere / "secret.txt", around.elsewhere / "adapter/adapter_config.json"]
    target = rng.choice(places if path.is_dir() and rng.random() < 0.9 else [*files, *places])
    _link(path, rng.choice((target, os.path.relpath(target, path.parent))))


def link_nowhere(path: Path, rng: Random, around: Surroundings) -> None:
    """Be a link to nothing, to itself or to new names elsewhere."""
    other = path.parent / f".{path.name}.loop"
    target = rng.choice((around.elsewhere / "new-file", path.name, other.name, "a" * 255))
    if target == other.name:
        os.symlink(path.name, other)
    _link(path, target)


def link_to_device(path: Path, rng: Random, around: Surroundings) -> None:
    """Be a link to a device without an end, or to one that is empty."""
    _link(path, rng.choice(("/dev/zero", "/dev/null", "/dev/random", "/dev/full", "/proc/self/mem")))


def link_hard(path: Path, rng: Random, around: Surroundings) -> None:
    """Be one and the same file with another; nobody can send such a file, so it is no secret one."""
    if path.is_dir():
        raise CannotApply
    os.link(path, around.inputs / f"same-{path.name}")


def become_pipe(path: Path, rng: Random, around: Surroundings) -> None:
    """Be a named pipe that nobody writes to."""
    clear(path)
    os.mkfifo(path)


def become_socket(path: Path, rng: Random, around: Surroundings) -> None:
    """Be a socket that nobody listens at."""
    clear(path)
    before = os.getcwd()
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(path.parent)  # a socket's path may have a hundred characters only
        try:
            made.bind(path.name)
        finally:
            os.chdir(before)


def become_folder(path: Path, rng: Random, around: Surroundings) -> None:
    """Be a folder where a file should be, or a file where a folder should be."""
    was_folder = path.is_dir()
    clear(path)
    if was_folder:
        path.write_bytes(rng.choice((b"", b"{}", b"[]")))
    else:
        path.mkdir()
        (path / "inner").write_text("{}")


def vanish(path: Path, rng: Random, around: Surroundings) -> None:
    """Be gone."""
    clear(path)


def vanish_soon(path: Path, rng: Random, around: Surroundings) -> None:
    """Go, or be cut short, while it is read."""
    delay, whole = rng.random() * 0.01, rng.random() < 0.5

    def go() -> None:
        time.sleep(delay)
        # It may be read, replaced or gone by now: that is the point.
        with suppress(OSError):
            clear(path) if whole or path.is_dir() else os.truncate(path, 3)

    around.helpers.append(threading.Thread(target=go, daemon=True))
    around.helpers[-1].start()


def rename(path: Path, rng: Random, around: Surroundings) -> None:
    """Have a hostile name."""
    name = rng.choice((*NAMES, path.name.upper(), path.name.title(), f"{path.name} ", f"{path.name}."))
    target = path.parent / name
    clear(target)
    path.rename(target)


def have_neighbour(path: Path, rng: Random, around: Surroundings) -> None:
    """Have a copy of itself, or rubbish, beside it under a hostile name."""
    target = path.parent / rng.choice((*NAMES, path.name.upper(), f"{path.name}~", "adapter_model.bin"))
    if os.path.lexists(target):
        return
    if rng.random() < 0.3:
        target.write_bytes(rng.randbytes(50))
    elif path.is_dir():
        shutil.copytree(path, target, symlinks=True)
    else:
        shutil.copy(path, target)


KINDS = {
    "link to good": link_to_good,
    "link elsewhere": link_elsewhere,
    "link nowhere": link_nowhere,
    "link to device": link_to_device,
    "hard link": link_hard,
    "pipe": become_pipe,
    "socket": become_socket,
    "folder for file": become_folder,
    "missing": vanish,
    "vanishing": vanish_soon,
    "renamed": rename,
    "neighbour": have_neighbour,
}
# What can be planted where nothing is.
PLANTS = {
    name: KINDS[name] for name in ("link elsewhere", "link nowhere", "link to device", "pipe", "socket")
}
