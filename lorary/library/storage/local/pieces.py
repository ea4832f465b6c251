"""Reading and writing files in pieces, so that memory does not grow with the file."""

from collections.abc import Iterator
from pathlib import Path

from lorary.library.storage.local import calls

PIECE_BYTES = 1 << 20


def read_pieces(file: int, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Read an opened file, or its bytes from start to end, in pieces."""
    while end is None or start < end:
        wanted = PIECE_BYTES if end is None else min(PIECE_BYTES, end - start)
        piece = calls.read(file, wanted, start)
        if not piece:
            return
        yield piece
        start += len(piece)


def split_content(content: bytes | Path) -> Iterator[bytes]:
    """Yield the content to be written, bytes or another file's content, in pieces."""
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def write_all(file: int, content: bytes) -> None:
    """Write all bytes to an opened file; a single system call may write only some of them."""
    rest = memoryview(content)
    while rest:
        rest = rest[calls.write(file, rest) :]
