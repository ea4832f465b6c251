"""What lies around a hostile input: folders that must stay as they are, and large files made once."""

import gzip
import lzma
import os
import shutil
import threading
from functools import partial
from pathlib import Path

MEGABYTE = 1 << 20
# Path names of inputs climb at most four folders: below this many, they cannot leave the contract's own.
DEPTH = ("far", "below", "every", "other", "folder")
SECRETS = {
    "elsewhere/secret.txt": "the secret\n",
    "elsewhere/notes/diary.txt": "dear diary\n",
    "elsewhere/notes/deeper/more.txt": "more\n",
    "elsewhere/adapter/adapter_config.json": '{"peft_type": "LORA", "r": 2}\n',
    "home/.bashrc": "true\n",
    "home/site-packages/package/__init__.py": "VERSION = 1\n",
    "home/.ssh/authorized_keys": "nobody\n",
}


class Surroundings:
    """A world of folders around one input.

    Args:
        root: a folder of its own.
        bulk: where large files are kept for all worlds, on the same file system.
    """

    def __init__(self, root: Path, bulk: Path):
        self.root, self.bulk = root.joinpath(*DEPTH), bulk
        self.top = root
        self.inputs = self.root / "in"
        self.elsewhere, self.home = self.root / "elsewhere", self.root / "home"
        self.helpers: list[threading.Thread] = []
        """What still changes the input while it is read."""
        self.build()

    def build(self) -> None:
        """Make all folders anew."""
        shutil.rmtree(self.top, ignore_errors=True)
        for name, text in SECRETS.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name in ("cache", "tmp"):
            (self.root / name).mkdir()
        self.known = self._look()

    def enter(self) -> None:
        """Make this process live here."""
        os.environ["HOME"] = str(self.home)
        os.environ["TMPDIR"] = str(self.root / "tmp")
        os.environ["LORARY_CACHE"] = str(self.root / "cache")
        os.chdir(self.root)

    def place(self, good: Path) -> Path:
        """Put a fresh copy of a good input here, once nothing changes the last one any more."""
        while self.helpers:
            self.helpers.pop().join()
        shutil.rmtree(self.inputs, ignore_errors=True)
        shutil.copytree(good, self.inputs, symlinks=True)
        return self.inputs

    def find_damage(self) -> list[str]:
        """Name what is no longer as it was, outside the input and the folders for caches."""
        found = self._look()
        changed = {
            name for name in found.keys() | self.known.keys() if found.get(name) != self.known.get(name)
        }
        return sorted(changed)

    def _look(self) -> dict[str, bytes]:
        seen = {}
        waiting = [str(self.top)]
        allowed = {str(self.root / name) for name in ("in", "cache", "tmp")}
        while waiting:
            for entry in os.scandir(waiting.pop()):
                if entry.path in allowed:
                    continue
                name = entry.path[len(str(self.top)) :]
                seen[name] = os.readlink(entry.path).encode() if entry.is_symlink() else b""
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    seen[name] = Path(entry.path).read_bytes()
        return seen

    def list_bulk(self) -> list[str]:
        """Name the large files that are no bombs."""
        return sorted(name for name in os.listdir(self.bulk) if name.startswith("huge"))

    def list_bombs(self) -> list[str]:
        """Name the packed files that unpack to gigabytes."""
        return sorted(name for name in os.listdir(self.bulk) if name.startswith("bomb"))


def write_bulk(folder: Path, size: int = MEGABYTE) -> None:
    """Write the large files: lines of 200 MB, and two gigabytes packed."""
    folder.mkdir()
    for name, start in (("a", b"a"), ("row", b'{"input": "a'), ("list", b"["), ("key", b'{"')):
        with (folder / f"huge-{name}").open("wb") as file:
            file.write(start)
            for _ in range(200):
                file.write((b"[" if name == "list" else b"a") * size)
    with (folder / "huge-zeros").open("wb") as file:
        file.truncate(200 * size)
    for name, pack in (("gz", partial(gzip.compress, mtime=0)), ("xz", lzma.compress)):
        start, block = pack(b'{"input": "'), pack(b"a" * (64 * size), *([1] if name == "gz" else []))
        (folder / f"bomb-row.{name}").write_bytes(start + block * 32)
        (folder / f"bomb-zeros.{name}").write_bytes(pack(bytes(64 * size)) * 32)
