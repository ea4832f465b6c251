"""Hostile bytes: what disks and editors do to files, and what the malicious put in their place."""

import os
from pathlib import Path
from random import Random

from tests.hostile.surroundings import Surroundings

# What pickles run when they are opened; it would show in the surroundings.
PICKLE = b"cos\nsystem\n(S'touch ../elsewhere/pwned elsewhere/pwned'\ntR."


def _cut(content: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 2, 8, 64, 500)))


def truncate(path: Path, rng: Random, around: Surroundings) -> None:
    """Cut the end off."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) + 1)])


def flip_bit(path: Path, rng: Random, around: Surroundings) -> None:
    """Flip one bit, or a few."""
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 1, 5, 50)) if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def insert_bytes(path: Path, rng: Random, around: Surroundings) -> None:
    """Put random bytes in."""
    content = path.read_bytes()
    start, _ = _cut(content, rng)
    path.write_bytes(content[:start] + rng.randbytes(rng.choice((1, 3, 64))) + content[start:])


def delete_block(path: Path, rng: Random, around: Surroundings) -> None:
    """Leave some bytes out."""
    content = path.read_bytes()
    start, end = _cut(content, rng)
    path.write_bytes(content[:start] + content[end:])


def duplicate_block(path: Path, rng: Random, around: Surroundings) -> None:
    """Write some bytes twice."""
    content = path.read_bytes()
    start, end = _cut(content, rng)
    path.write_bytes(content[:end] + content[start:])


def zero_block(path: Path, rng: Random, around: Surroundings) -> None:
    """Overwrite some bytes with zeros."""
    content = path.read_bytes()
    start, end = _cut(content, rng)
    path.write_bytes(content[:start] + bytes(end - start) + content[end:])


def append_bytes(path: Path, rng: Random, around: Surroundings) -> None:
    """Write more behind the end."""
    with path.open("ab") as file:
        file.write(rng.choice((b"\0", b"{}", b"\n\n[", rng.randbytes(100), path.read_bytes())))


def empty(path: Path, rng: Random, around: Surroundings) -> None:
    """Leave nothing."""
    path.write_bytes(b"")


def replace_bytes(path: Path, rng: Random, around: Surroundings) -> None:
    """Put something else there: a pickle, an archive, an executable, noise."""
    known = (PICKLE, b"\x80\x04" + PICKLE, b"PK\x03\x04" + bytes(50), b"\x7fELF" + bytes(60), b"GIF89a")
    path.write_bytes(rng.choice((*known, b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\n" * 50, rng.randbytes(300))))


def recode(path: Path, rng: Random, around: Surroundings) -> None:
    """Write it in another encoding, or with bytes that none has."""
    content = path.read_bytes()
    text = content.decode("latin-1")
    kinds = (
        text.encode("utf-16"),
        text.encode("utf-32-le"),
        b"\xef\xbb\xbf" + content,
        b"\xef\xbb\xbf" * 2 + content,
        content.replace(b"e", b"\xe9", 1),
        content.replace(b"a", b"\xff\xfe", 1),
        content.replace(b"a", b"\xed\xa0\x80", 1),
        content.replace(b"a", b"\xc0\x80", 1),
        content.replace(b"\n", b"\r\n"),
        content.replace(b" ", b"\0", 1),
    )
    path.write_bytes(rng.choice(kinds))


def become_huge(path: Path, rng: Random, around: Surroundings) -> None:
    """Become one line of 200 MB; a link to one that is written once, because writing takes long."""
    name = rng.choice(around.list_bulk())
    path.unlink()
    os.link(around.bulk / name, path)


KINDS = {
    "truncate": truncate,
    "flip bit": flip_bit,
    "insert bytes": insert_bytes,
    "delete block": delete_block,
    "duplicate block": duplicate_block,
    "zero block": zero_block,
    "append": append_bytes,
    "empty": empty,
    "replace": replace_bytes,
    "encoding": recode,
    "huge": become_huge,
}
