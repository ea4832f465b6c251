"""Files that appear whole or not at all."""

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write a text file, in place of the one that may be there; missing folders are made."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file, in place of the one that may be there; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.writing")
    try:
        scratch.write_bytes(content)
        publish(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def publish(scratch: Path, path: Path) -> None:
    """Put a written file on the disk for good, then in its place, in one step."""
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(scratch, path)
