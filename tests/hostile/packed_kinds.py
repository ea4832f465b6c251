"""Hostile packed files: bombs of two gigabytes, cut and foreign streams."""

import gzip
import lzma
import os
from pathlib import Path
from random import Random

from tests.hostile.surroundings import Surroundings


def become_bomb(path: Path, rng: Random, around: Surroundings) -> None:
    """Unpack to one line of two gigabytes."""
    names = [name for name in around.list_bombs() if name.endswith(path.suffix)]
    path.unlink()
    os.link(around.bulk / rng.choice(names), path)


def repack(path: Path, rng: Random, around: Surroundings) -> None:
    """Be packed twice, otherwise, or with rubbish behind."""
    content = path.read_bytes()
    kinds = (
        gzip.compress(content, mtime=0),
        lzma.compress(content),
        content + rng.randbytes(50),
        content + content,
        content[:-8],
        content + bytes(100),
        lzma.compress(content, format=lzma.FORMAT_ALONE),
    )
    path.write_bytes(rng.choice(kinds))


KINDS = {"bomb": become_bomb, "packing": repack}
