"""Whatever fails at whatever call, nothing is lost, and what is said of it holds."""

import pytest

from lorary.library.storage.contract import Outcome


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "least"),
    [("error", 500), ("late-error", 300), ("interrupt", 300), ("lasting-error", 1000), ("double-error", 500)],
)
def test_a_failure_at_whatever_call_loses_nothing_and_what_is_said_of_it_holds(run_faults, kind, least):
    """Guards against "the library is as it was" where it was not."""
    found = run_faults(kind)
    assert found["violations"] == []
    assert found["trials"] >= least
    if kind == "lasting-error":
        # Each thing that can be said of a change was said, and found to be true.
        assert found["outcomes"].keys() >= {outcome.name for outcome in Outcome}
