"""A writer that is killed at whatever call, and then whoever finishes what it left, loses nothing."""

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "least"),
    [("kill", 1000), ("double-kill", 1000), ("failing-repair", 300)],
)
def test_a_kill_at_whatever_call_loses_nothing(run_faults, kind, least):
    """Guards against experts lost by one failing ``stat`` in recovery."""
    found = run_faults(kind)
    assert found["violations"] == []
    assert found["trials"] >= least
