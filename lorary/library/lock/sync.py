"""Rebuilding a library from a lock file and other libraries, or reporting differences."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

from lorary.experts.weights_file import WEIGHTS_FILE
from lorary.library import catalog
from lorary.library.artifacts import ARTIFACTS
from lorary.library.commits import commit_plan
from lorary.library.library import Library
from lorary.library.lock.lock_file import Lock
from lorary.library.lock.make_lock import hash_expert, list_versions
from lorary.library.storage.contract import Puts, Storage
from lorary.library.storage.opening import open_storage
from lorary.library.tuned import read_all_tuned


class Difference(NamedTuple):
    """A difference from the lock file."""

    what: str
    """The thing, such as ``expert poetry``."""
    locked: str
    """The locked state."""
    found: str
    """The state that was found."""


class Synced(NamedTuple):
    """The result of a synchronisation."""

    copied: tuple[str, ...]
    """Experts that were copied."""
    unchanged: tuple[str, ...]
    """Experts that were already there, with the same files."""
    differences: tuple[Difference, ...]
    """The remaining differences; empty if the library is equal, bit for bit."""
    versions: tuple[Difference, ...]
    """Packages of other versions, which do not change files."""


def sync_library(
    lock: Lock,
    out: str,
    sources: Sequence[str],
    *,
    replace: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Synced:
    """Rebuild the library of a lock file, with its trained artifacts and tuned options, bit for bit.

    An expert is copied from the first source that has it with the locked hashes. Copies are hashed
    again. Without sources nothing is added.

    Args:
        lock: the lock file.
        out: the library to create or complete.
        sources: other libraries.
        replace: whether differing parts of the library are replaced; otherwise they are reported.
        on_progress: called with the number of finished experts and of all experts.

    Raises:
        LibraryError: if a library cannot be read or written.
    """
    for url in sources:
        Library.open(url)
    known = Library.open(out, create=True)
    target, stores = open_storage(out), [open_storage(url) for url in sources]
    copied, unchanged, differences = [], [], []
    for number, (name, files) in enumerate(sorted(lock.experts.items()), 1):
        own = _hash(target, name)
        if own == files:
            unchanged.append(name)
        elif own and not replace:
            differences.append(_compare(name, files, own, "; --replace takes the locked one from --sources"))
        elif (found := _take(target, stores, name, files)) is None:
            copied.append(name)
        else:
            differences.append(found)
        if on_progress is not None:
            on_progress(number, len(lock.experts))
    for file, digest in sorted(lock.trained.items()):
        if (missing := _take_trained(target, stores, file, digest, replace=replace)) is not None:
            differences.append(missing)
    more = [
        Difference(f"expert {name}", "none", "in the library") for name in known if name not in lock.experts
    ]
    differences += [*more, *_sync_tuned(lock, known, target, bool(sources), replace)]
    return Synced(tuple(copied), tuple(unchanged), tuple(differences), _compare_versions(lock))


def _hash(storage: Storage, name: str) -> dict[str, str]:
    with storage.reading():
        return hash_expert(storage, name)


def _take(
    target: Storage, sources: Sequence[Storage], name: str, files: Mapping[str, str]
) -> Difference | None:
    """Copy an expert from the first source that has it; return the difference if none has."""
    nearest: dict[str, str] = {}
    for source in sources:
        found = _hash(source, name)
        if found != files:
            nearest = nearest or found
            continue
        with source.reading():
            puts = {f"{name}/{file}": source.read(f"{name}/{file}") for file in files}
        commit_plan(
            target,
            f"copy expert {name!r}",
            partial(_plan, target, name, puts),
            num_bytes=sum(map(len, puts.values())),
        )
        own = _hash(target, name)
        return None if own == files else _compare(name, files, own, " after it was copied")
    if nearest:
        return _compare(name, files, nearest, " in the sources")
    return Difference(f"expert {name}", _shorten(files), "in no source")


def _take_trained(
    target: Storage, sources: Sequence[Storage], file: str, digest: str, *, replace: bool
) -> Difference | None:
    """Copy an artifact unless it is there; return the difference if that is not possible."""
    path, what = f"{ARTIFACTS}/{file}", f"{file.partition('/')[0]} of experts"
    own = _hash_file(target, path)
    if own == digest:
        return None
    if own is not None and not replace:
        found = "another one; --replace takes the locked one from --sources"
        return Difference(what, f"sha256 {digest[:12]}", found)
    for source in sources:
        with source.reading():
            content = source.read(path) if source.find_kind(path) == "file" else b""
        if sha256(content).hexdigest() == digest:
            commit_plan(target, f"copy {what}", partial(_put, {path: content}), num_bytes=len(content))
            return None
    return Difference(what, f"sha256 {digest[:12]}", "in no source")


def _put(puts: Puts) -> tuple[Puts, list[str]]:
    return puts, []


def _hash_file(storage: Storage, path: str) -> str | None:
    with storage.reading():
        return storage.hash(path) if storage.find_kind(path) == "file" else None


def _plan(target: Storage, name: str, puts: Puts) -> tuple[Puts, list[str]]:
    if catalog.is_expert(target, name):
        return puts, [name]
    catalog.require_free_name(target, name)
    return puts, []


def _compare(name: str, files: Mapping[str, str], found: Mapping[str, str], where: str) -> Difference:
    different = sorted(file for file in files.keys() | found.keys() if files.get(file) != found.get(file))
    shown = ", ".join(different)
    return Difference(f"expert {name}", _shorten(files), f"other {shown}{where}")


def _shorten(files: Mapping[str, str]) -> str:
    """Return the first digits of the hash of an expert's weights."""
    digest = files.get(WEIGHTS_FILE) or next(iter(files.values()))
    return f"sha256 {digest[:12]}"


def _sync_tuned(
    lock: Lock, library: Library, target: Storage, may_add: bool, replace: bool
) -> Iterator[Difference]:
    """Store the locked tuned options where the library has none; yield what differs."""
    with target.reading():
        own = read_all_tuned(target)
    for router in sorted({*lock.tuned, *own}):
        wanted, found = lock.tuned.get(router), own.get(router)
        if wanted == found:
            continue
        if replace or (found is None and may_add):
            library.tune(router, wanted)
        else:
            yield Difference(f"tuned options of router {router}", _say(wanted), _say(found))


def _say(options: Mapping[str, Any] | None) -> str:
    return "none" if options is None else ", ".join(f"{name} {own}" for name, own in options.items())


def _compare_versions(lock: Lock) -> tuple[Difference, ...]:
    own = list_versions()
    return tuple(
        Difference(package, wanted, own.get(package, "not installed"))
        for package, wanted in sorted(lock.versions.items())
        if own.get(package) != wanted
    )
