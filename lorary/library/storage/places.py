"""Paths of a library's own files, the same in every storage."""

MARKER = "library.json"
"""Marks a folder as a library."""
PRIVATE = ".lorary"
"""Folder of locks, changes in progress and artifacts."""
JOURNAL = f"{PRIVATE}/journal.json"
"""The journal of the change in progress."""
TMP = f"{PRIVATE}/tmp"
"""Folder of staged files and folders."""
TRASH = f"{PRIVATE}/trash"
"""Folder of replaced and removed folders."""


def is_part_of_expert(path: str) -> bool:
    """Return whether a path is in an expert's folder; others, such as artifacts, are the library's own."""
    return "/" in path and not path.startswith(f"{PRIVATE}/")
