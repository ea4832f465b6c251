"""Storing experts in a library, all in one commit, and checking beforehand that this is possible."""

import errno
from collections.abc import Mapping
from hashlib import sha256

from lorary.experts import Expert, write_expert_files
from lorary.experts.weights_file import WEIGHTS_FILE
from lorary.files import escape
from lorary.library import catalog
from lorary.library.commits import commit_plan
from lorary.library.failure import explain_failure
from lorary.library.standing import refuse_standing
from lorary.library.storage.contract import Outcome, Puts, Storage
from lorary.library.storage.places import MARKER


def store_experts(storage: Storage, experts: Mapping[str, Expert], replace: bool) -> None:
    """Store experts under their keys, which are safe as folders' names.

    Raises:
        TypeError: if one is not an ``Expert``.
        LibraryError: if a name is taken and ``replace`` is false, others build on an expert that would be
            replaced by one of other weights, or they cannot be written.
    """
    puts: dict[str, bytes] = {}
    hashes: set[str] = set()
    for name, expert in experts.items():
        if not isinstance(expert, Expert):
            raise TypeError(f"a library stores experts, found {type(expert).__name__} for {name!r}")
        files = write_expert_files(expert.rename(name))
        hashes.add(sha256(files[WEIGHTS_FILE]).hexdigest())
        puts |= {f"{name}/{file}": content for file, content in files.items()}

    def plan() -> tuple[Puts, list[str]]:
        there = [name for name in experts if catalog.is_expert(storage, name)]
        for name in experts:
            if not (replace and name in there):
                catalog.require_free_name(storage, name)
        if there:
            refuse_standing(storage, there, hashes)
        return puts, there

    shown = ", ".join(map(repr, experts))
    what = f"store {'expert' if len(experts) == 1 else 'experts'} {escape(shown, longest=200)}"
    commit_plan(storage, what, plan, num_bytes=sum(map(len, puts.values())))


def require_writable(storage: Storage, num_bytes: int) -> None:
    """Check that files can be written, by writing ``library.json`` again unchanged, and that there is space.

    Raises:
        LibraryError: if nothing can be written, or there is too little space; the message has the reason.
    """
    commit_plan(storage, "write", lambda: ({MARKER: storage.read(MARKER)}, ()))
    free = storage.free_bytes()
    if free is not None and free < num_bytes:
        full = OSError(errno.ENOSPC, "No space left on device")
        raise explain_failure(storage, full, "write", Outcome.UNCHANGED.value, num_bytes)
