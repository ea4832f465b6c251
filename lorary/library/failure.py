"""What to say when the operating system refuses a write."""

import errno

from lorary.errors import LibraryError
from lorary.library.storage import Storage

OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def explain_failure(storage: Storage, error: OSError, what: str, num_bytes: int = 0) -> LibraryError:
    """Turn a failed write into an error that says what was not done, and what to do.

    Args:
        storage: the library's.
        error: what the operating system said.
        what: what was tried, such as ``"store expert 'poetry'"``.
        num_bytes: how many bytes it takes, if it is known.
    """
    start = f"cannot {what} in library {storage.url!r}"
    if error.errno in OUT_OF_SPACE:
        free = storage.free_bytes()
        needed = f"{num_bytes:,} bytes are needed" if num_bytes else "more bytes are needed"
        found = f"{free:,} are free" if free is not None else "it is full"
        cause = f"no space left in {storage.root!r}: {needed}, {found}; free some space and try again"
    elif error.errno in NOT_ALLOWED:
        cause = f"not allowed to write there ({error}): ask for the right to, or copy the library elsewhere"
    else:
        cause = f"{error}"
    return LibraryError(f"{start}: {cause}. The library is as it was")
