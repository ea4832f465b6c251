"""Files that grow by whole lines."""

import os
from pathlib import Path


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Append a line to a file, as UTF-8; missing folders are made.

    Args:
        path: the file; it is made if it is missing.
        line: the text, without its end of line.

    Raises:
        OSError: if the file cannot be written; earlier lines are kept.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    rest = f"{line}\n".encode()
    with place.open("ab") as file:
        # One call, so that the lines of several processes do not mix. It writes less only on a full disk.
        while rest:
            rest = rest[os.write(file.fileno(), rest) :]
