"""Committing a change that is planned on what is stored, again if somebody else was faster."""

from collections.abc import Callable, Collection

from lorary.errors import LibraryError
from lorary.files import quote
from lorary.library.failure import explain_failure
from lorary.library.storage.contract import Outcome, Puts, Revision, RevisionMoved, Storage

MOST_TRIES = 20

Plan = Callable[[], tuple[Puts, Collection[str]]]
"""Looks at the storage, refuses what cannot be done, and returns what a commit puts and deletes."""


def commit_plan(
    storage: Storage, what: str, plan: Plan, *, num_bytes: int = 0, outcome: str | None = None
) -> Revision:
    """Plan a change on one revision and commit it to that.

    Args:
        storage: the library's.
        what: what is done, such as ``"store expert 'poetry'"``.
        plan: called once for each revision that the change is tried on.
        num_bytes: how many bytes it takes, if it is known.
        outcome: what is said of the library after a failure; ``None`` finds it out.

    Raises:
        LibraryError: if the storage failed, saying what became of the library; or if others keep changing it.
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
        # Only now: leaving the block may have finished what failed within it.
        told = outcome or (change.outcome if change else Outcome.UNCHANGED).value
        raise explain_failure(storage, error, what, told, num_bytes) from error
    raise LibraryError(
        f"cannot {what} in library {quote(storage.url)}: others changed it {MOST_TRIES} times meanwhile; "
        f"try again. {outcome or Outcome.UNCHANGED.value}"
    )
