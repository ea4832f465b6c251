"""Where a library keeps what is no expert's, the same in every storage."""

MARKER = "library.json"
"""Makes a folder a library."""
PRIVATE = ".lorary"
"""Locks, changes being made, artifacts."""
JOURNAL = f"{PRIVATE}/journal.json"
"""The change that is being published."""
TMP = f"{PRIVATE}/tmp"
"""What is staged."""
TRASH = f"{PRIVATE}/trash"
"""What was taken out of the way."""


def is_part_of_expert(path: str) -> bool:
    """Return whether a path is in an expert's folder; else it is the library's own, such as an artifact."""
    return "/" in path and not path.startswith(f"{PRIVATE}/")
