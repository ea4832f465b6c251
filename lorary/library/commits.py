"""Planning a change on the current state of a library and committing it, again if another came first."""

from collections.abc import Callable, Collection

from lorary.errors import LibraryError
from lorary.files import quote
from lorary.library.failure import explain_failure
from lorary.library.storage.contract import Outcome, Puts, Revision, RevisionMoved, Storage

MOST_TRIES = 20

Plan = Callable[[], tuple[Puts, Collection[str]]]
"""Function that reads the storage, raises an error for a change that is not possible, and returns the puts
and deletes of a commit."""


def commit_plan(
    storage: Storage, what: str, plan: Plan, *, num_bytes: int = 0, outcome: str | None = None
) -> Revision:
    """Plan a change on the current revision and commit it to that revision.

    Args:
        storage: the library's storage.
        what: the change, for messages, such as ``"store expert 'poetry'"``.
        plan: called once for each revision that the change is tried on.
        num_bytes: number of bytes to be written, if known.
        outcome: sentence about the state of the library after a failure; ``None`` for the actual outcome.

    Raises:
        LibraryError: if the storage fails, or if other processes commit each time in between. The message
            states the outcome.
    """
    change = None
    try:
        for _ in range(MOST_TRIES):
            try:
                with storage.changing() as change:
                    return change.commit(*plan())
            except RevisionMoved:
                continue
    except OSError as error:
        # Read outside of the block, since leaving the block may have finished the change.
        told = outcome or (change.outcome if change else Outcome.UNCHANGED).value
        raise explain_failure(storage, error, what, told, num_bytes) from error
    raise LibraryError(
        f"cannot {what} in library {quote(storage.url)}: other processes changed it {MOST_TRIES} times in "
        f"the meantime; try again. {outcome or Outcome.UNCHANGED.value}"
    )
