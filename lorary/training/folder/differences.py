"""What differs between the identities of two runs."""

from typing import Any

from lorary.files import escape, quote

NUM_DIFFERENCES = 4


def describe_differences(known: dict[str, Any], ours: dict[str, Any]) -> str:
    """Describe in which settings and inputs two runs differ; empty if they are the same.

    Args:
        known: the identity of the run in the folder, as JSON values.
        ours: the identity of this run.
    """
    different = _find_differences(known, ours)
    more = f" and {len(different) - NUM_DIFFERENCES} more" if len(different) > NUM_DIFFERENCES else ""
    return "; ".join(different[:NUM_DIFFERENCES]) + more


def _find_differences(known: dict[str, Any], ours: dict[str, Any], above: str = "") -> list[str]:
    """List the keys whose values differ, including keys of nested dicts, with both values."""
    different = []
    for key in sorted(known.keys() | ours.keys()):
        there, here = known.get(key), ours.get(key)
        shown = f"{above}{escape(key, keep='', longest=60)}"
        if isinstance(there, dict) and isinstance(here, dict):
            different += _find_differences(there, here, f"{shown} ")
        elif there != here:
            different.append(f"{shown} ({quote(there, 50)} there, {quote(here, 50)} here)")
    return different
