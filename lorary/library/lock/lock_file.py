"""``lorary.lock``: its content, writing it, and reading an untrusted one."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from lorary.errors import FormatError
from lorary.experts import check_name
from lorary.experts.folder import ADAPTER_FILES
from lorary.files import dump_json, parse_json_object, quote, read_at_most, write_whole
from lorary.library.artifacts import TRAINED

FORMAT = "lorary_lock"
VERSION = 1
SEAL = "sha256"
_HASH = re.compile("[0-9a-f]{64}")
_TRAINED_FILE = re.compile(rf"({'|'.join(TRAINED)})/[0-9a-f]{{64}}\.safetensors")
_AGAIN = "write it again with `lorary lock`"


@dataclass(frozen=True, kw_only=True)
class LockedRouter:
    """A router with all of its options."""

    name: str
    """A key of ``ROUTERS``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Option -> value."""
    combine: str = "outputs"
    """``"outputs"`` or ``"factors"``, see ``mix``."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """The contents of a library."""

    experts: Mapping[str, Mapping[str, str]]
    """Expert -> its files -> SHA-256."""
    bases: Mapping[str, Mapping[str, str | None]]
    """Base model of the experts -> its ``revision`` and ``fingerprint``, as far as cards have them."""
    recipes: Mapping[str, Any] = field(default_factory=dict)
    """Merged expert -> the recipe that repeats the merge."""
    router: LockedRouter | None = None
    """The router to use; None for none."""
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Router -> the options that `lorary calibrate` tuned for the library."""
    trained: Mapping[str, str] = field(default_factory=dict)
    """Place of an artifact that only training can make, such as the table of skills -> SHA-256."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package -> version that wrote the lock."""


def write_lock(lock: Lock, path: str | Path) -> None:
    """Write a lock file, completely or not at all; the same library gives the same bytes."""
    content = {FORMAT: VERSION, **asdict(lock)}
    write_whole(Path(path), dump_json({**content, SEAL: _hash(content)}).encode())


def read_lock(path: str | Path) -> Lock:
    """Read a lock file.

    Raises:
        FormatError: if it is not a lock file, or was changed after it was written.
    """
    found = parse_json_object(read_at_most(Path(path)), str(path), _AGAIN)
    if found.get(FORMAT) != VERSION:
        raise FormatError(
            f"{quote(str(path))} must be a lock file of format {VERSION}, found "
            f"{quote(found.get(FORMAT), 60)}: {_AGAIN}"
        )
    seal = found.pop(SEAL, None)
    if seal != _hash(found):
        raise FormatError(f"{quote(str(path))} is not what was written, its SHA-256 differs: {_AGAIN}")
    del found[FORMAT]
    faults = list(_find_faults(found))
    if faults:
        raise FormatError(f"{quote(str(path))} must not have {', '.join(faults[:5])}: {_AGAIN}")
    router = found.pop("router")
    return Lock(**found, router=None if router is None else LockedRouter(**router))


def _hash(content: Mapping[str, Any]) -> str:
    return sha256(dump_json(content).encode()).hexdigest()


def _find_faults(found: Mapping[str, Any]) -> Iterator[str]:
    names = {entry.name for entry in fields(Lock)}
    yield from (f"{quote(name, 60)} (unknown or missing)" for name in sorted(found.keys() ^ names))
    for name in ("experts", "bases", "recipes", "tuned", "trained", "versions"):
        if not isinstance(found.get(name), dict):
            yield f"{name} {quote(found.get(name), 60)}"
            return
    for name, files in found["experts"].items():
        if not _is_name(name) or not isinstance(files, dict) or not files:
            yield f"experts: {quote(name, 60)}"
        elif any(file not in ADAPTER_FILES or not _is_hash(digest) for file, digest in files.items()):
            yield f"experts: {quote(name, 60)}: {quote(files, 60)}"
    for base, known in found["bases"].items():
        texts = isinstance(known, dict) and known.keys() == {"revision", "fingerprint"}
        if not texts or not all(isinstance(value, str | None) for value in known.values()):
            yield f"bases: {quote(base, 60)}"
    yield from (
        f"tuned: {quote(name, 60)}" for name, own in found["tuned"].items() if not isinstance(own, dict)
    )
    for file, digest in found["trained"].items():
        if not _TRAINED_FILE.fullmatch(file) or not _is_hash(digest):
            yield f"trained: {quote(file, 60)}"
    yield from _find_router_faults(found.get("router"))


def _find_router_faults(router: Any) -> Iterator[str]:
    if router is None:
        return
    kinds = {"name": str, "options": dict, "combine": str}
    if not isinstance(router, dict) or router.keys() != kinds.keys():
        yield f"router {quote(router, 60)}"
    else:
        yield from (
            f"router {name} {quote(router[name], 60)}"
            for name in kinds
            if not isinstance(router[name], kinds[name])
        )


def _is_name(name: str) -> bool:
    try:
        return bool(check_name(name, is_stored=True))
    except ValueError:
        return False


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None
