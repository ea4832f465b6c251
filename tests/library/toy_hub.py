"""A storage that can only be read, listed and committed to: what a model hub offers, kept in memory."""

import hashlib
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from lorary.errors import FormatError
from lorary.experts.weights_file import load_tensors
from lorary.files import LIMITS
from lorary.library.storage.contract import Outcome, RevisionMoved, Stored


class Repository:
    """All revisions, each a mapping from paths to bytes; the last one is the head."""

    def __init__(self):
        self.revisions = {}
        self.lock = threading.Lock()

    @property
    def head(self):
        return next(reversed(self.revisions), None)

    def commit(self, parent, files):
        """Take a whole new state, unless another one was committed since its parent."""
        with self.lock:
            if self.head != parent:
                raise RevisionMoved(f"the head is {self.head}, not {parent}")
            revision = uuid4().hex
            self.revisions[revision] = files
            return revision


class ToyHub:
    """See ``Storage``: no rename, no partial write, no lock; commits are refused if the head moved.

    A reader sees the revision that was the head when its block began, whatever is committed meanwhile.
    """

    repositories: ClassVar[dict[str, Repository]] = {}

    def __init__(self, url, timeout=0.0):
        self.url = url
        self.root = url.partition("://")[2]
        self.repository = self.repositories.setdefault(url, Repository())
        self.pinned = threading.local()

    @property
    def revision(self):
        stack = getattr(self.pinned, "stack", None)
        return stack[-1] if stack else self.repository.head

    @property
    def files(self):
        return self.repository.revisions.get(self.revision) or {}

    @contextmanager
    def _pinning(self):
        stack = self.pinned.__dict__.setdefault("stack", [])
        stack.append(self.repository.head)
        try:
            yield
        finally:
            stack.pop()

    def path(self, relative):
        return f"{self.root}/{relative}" if relative else self.root

    def find_kind(self, relative=""):
        if not relative:
            return None if self.revision is None else "folder"
        if relative in self.files:
            return "file"
        return "folder" if any(path.startswith(f"{relative}/") for path in self.files) else None

    def find_existing(self, relatives):
        return {relative for relative in relatives if self.find_kind(relative)}

    def list_kinds(self, relative=""):
        start = f"{relative}/" if relative else ""
        names = {path[len(start) :].partition("/")[0] for path in self.files if path.startswith(start)}
        return {name: self.find_kind(start + name) for name in sorted(names)}

    def walk(self, relative):
        return {
            path: "file" for path in sorted(self.files) if path == relative or path.startswith(f"{relative}/")
        }

    def read(self, relative, start=0, end=None):
        if relative not in self.files:
            raise FileNotFoundError(relative)
        return self.files[relative][start:end]

    def read_many(self, relatives):
        return {relative: self._read_small(relative) for relative in relatives}

    def _read_small(self, relative):
        if relative not in self.files:
            return FileNotFoundError(relative)
        if len(self.files[relative]) > LIMITS["json_mb"].num_bytes:
            return FormatError(f"'{relative}' is too large: {LIMITS['json_mb'].advice}")
        return self.files[relative]

    def read_tensors(self, relative):
        return load_tensors(self.read(relative), self.path(relative))

    def count_bytes(self, relative):
        return len(self.read(relative))

    def hash(self, relative):
        return hashlib.sha256(self.read(relative)).hexdigest()

    def free_bytes(self):
        return None

    def make_root(self):
        if self.repository.head is None:
            self.repository.commit(None, {})

    def reading(self):
        return self._pinning()

    @contextmanager
    def changing(self):
        with self._pinning():
            yield ToyChange(self)

    def tidy(self):
        """Nothing is ever left."""

    def settle(self):
        return []

    def write_many(self, files):
        """Upload what is to be committed; tests let it fail."""

    # What tests do to files behind a library's back.

    def make_folder(self, relative=""):
        """Folders are there as soon as a file is in them."""

    def write(self, relative, content):
        self.repository.commit(self.repository.head, {**self.files, relative: content})

    def remove(self, relative):
        kept = {path: content for path, content in self.files.items() if path not in self.walk(relative)}
        self.repository.commit(self.repository.head, kept)


class ToyChange:
    def __init__(self, hub):
        self.hub = hub
        self.parent = hub.revision
        self.outcome = Outcome.UNCHANGED

    def commit(self, puts, deletes=()):
        before = self.hub.files
        gone = {path for deleted in deletes for path in self.hub.walk(deleted)}
        files = {path: content for path, content in before.items() if path not in gone}
        self.hub.write_many(puts)
        for path, source in sorted(puts.items(), key=lambda put: not isinstance(put[1], Stored)):
            files |= self._give(path, source)
        revision = self.hub.repository.commit(self.parent, files)
        self.parent = self.hub.pinned.stack[-1] = revision
        self.outcome = Outcome.MADE
        return revision

    def _give(self, path, source):
        if isinstance(source, Stored):
            found = self.hub.walk(source.path)
            if not found:
                raise FileNotFoundError(source.path)
            return {path + file[len(source.path) :]: self.hub.files[file] for file in found}
        return {path: source.read_bytes() if isinstance(source, Path) else source}
