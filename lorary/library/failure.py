"""Error messages for writes that the operating system refuses."""

import errno

from lorary.errors import LibraryError
from lorary.files import escape, quote, say_count
from lorary.library.storage.contract import Storage

OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
EXPERTS_UNCHANGED = "The experts are unchanged"


class WriteForbidden(LibraryError):
    """The user may not write to the library, or its file system is read-only."""


def explain_failure(
    storage: Storage, error: OSError, what: str, outcome: str, num_bytes: int = 0
) -> LibraryError:
    """Turn a failed write into an error that states what failed, why, what to do, and the library's state.

    Args:
        storage: the library's storage.
        error: the operating system's error.
        what: the change, such as ``"store expert 'poetry'"``.
        outcome: the state of the library, as a sentence without its full stop.
        num_bytes: number of bytes to be written, if known.

    Returns:
        The error to raise.
    """
    kind = WriteForbidden if error.errno in NOT_ALLOWED else LibraryError
    start = f"cannot {what} in library {quote(storage.url)}"
    if error.errno in OUT_OF_SPACE:
        free = storage.free_bytes()
        needed = f"{say_count(num_bytes, 'byte')} are needed" if num_bytes else "more bytes are needed"
        found = f"{free:,} are free" if free is not None else "it is full"
        cause = f"no space left in {quote(storage.root)}: {needed}, {found}; free some space and try again"
    elif error.errno in NOT_ALLOWED:
        cause = (
            f"not allowed to write there ({escape(str(error), longest=200)}): ask for permission, "
            "or copy the library elsewhere"
        )
    else:
        cause = escape(str(error), longest=200)
    return kind(f"{start}: {cause}. {outcome}")
