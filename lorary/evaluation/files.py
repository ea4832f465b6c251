"""Writing a finished file: whole or not at all."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile


def write_file(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file under a temporary name beside its place, then move it there.

    Args:
        path: where the file shall be; missing folders are made.
        content: all of its bytes.

    Returns:
        The path written.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=place.parent, prefix=f".{place.name}.", delete=False) as temporary:
        try:
            temporary.write(content)
            temporary.flush()
            # A temporary file is readable by its owner only; a result is an ordinary file.
            os.chmod(temporary.name, 0o644)
            os.replace(temporary.name, place)
        except BaseException:
            os.unlink(temporary.name)
            raise
    return place
