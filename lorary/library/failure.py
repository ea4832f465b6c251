"""What to say when the operating system refuses a write."""

import errno

from lorary.errors import LibraryError
from lorary.files import quote, shorten
from lorary.library.storage.contract import Storage

OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
EXPERTS_UNCHANGED = "The experts are as they were"


class WriteForbidden(LibraryError):
    """The operating system lets nobody write there, or not this user."""


def explain_failure(
    storage: Storage, error: OSError, what: str, outcome: str, num_bytes: int = 0
) -> LibraryError:
    """Turn a failed write into an error that says what was not done, what holds now, and what to do.

    Args:
        storage: the library's.
        error: what the operating system said.
        what: what was tried, such as ``"store expert 'poetry'"``.
        outcome: what became of it, as a sentence without its full stop.
        num_bytes: how many bytes it takes, if it is known.
    """
    kind = WriteForbidden if error.errno in NOT_ALLOWED else LibraryError
    start = f"cannot {what} in library {quote(storage.url)}"
    if error.errno in OUT_OF_SPACE:
        free = storage.free_bytes()
        needed = f"{num_bytes:,} bytes are needed" if num_bytes else "more bytes are needed"
        found = f"{free:,} are free" if free is not None else "it is full"
        cause = f"no space left in {quote(storage.root)}: {needed}, {found}; free some space and try again"
    elif error.errno in NOT_ALLOWED:
        cause = (
            f"not allowed to write there ({shorten(str(error))}): ask for the right to, "
            "or copy the library elsewhere"
        )
    else:
        cause = shorten(str(error))
    return kind(f"{start}: {cause}. {outcome}")
