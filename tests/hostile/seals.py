"""The hashes within an input, which whoever makes a hostile one writes anew."""

import re
from hashlib import sha256
from pathlib import Path

DIGEST = re.compile(rb"[0-9a-f]{64}")
NO_DIGEST = b"0" * 64
# What is larger holds no hashes, and takes long to look through.
MOST_BYTES = 1 << 20


class Seals:
    """The SHA-256 hashes that files of a good input hold: of each other, and of themselves.

    Args:
        good: the good input.
    """

    def __init__(self, good: Path):
        contents = {path: path.read_bytes() for path in sorted(good.rglob("*")) if path.is_file()}
        digests = {path: find_digest(content) for path, content in contents.items()}
        self.own = {
            str(path.relative_to(good)): found
            for path, content in contents.items()
            if (found := find_own_digest(content)) is not None
        }
        """File -> the hash of its own bytes, with zeros in the hash's place."""
        self.told = {
            str(path.relative_to(good)): digest
            for path, digest in digests.items()
            if any(digest in content for other, content in contents.items() if other != path)
        }
        """File -> its hash, which another file tells."""

    def __contains__(self, path: str) -> bool:
        return path in self.own or path in self.told

    def renew(self, changed: str, inputs: Path) -> None:
        """Write a changed file's hash where the good one's stood, and so on for what changes by that."""
        waiting, told = [changed], dict(self.told)
        while waiting:
            path = waiting.pop()
            if not (inputs / path).is_file():
                continue
            self._renew_own(path, inputs)
            if (old := told.pop(path, None)) is None:
                continue
            new = find_digest((inputs / path).read_bytes())
            for other in sorted(inputs.rglob("*")):
                if other != inputs / path and _replace(other, old, new):
                    waiting.append(str(other.relative_to(inputs)))

    def _renew_own(self, path: str, inputs: Path) -> None:
        if path in self.own and _replace(inputs / path, self.own[path], NO_DIGEST):
            _replace(inputs / path, NO_DIGEST, find_digest((inputs / path).read_bytes()))


def find_digest(content: bytes) -> bytes:
    """Hash bytes."""
    return sha256(content).hexdigest().encode()


def find_own_digest(content: bytes) -> bytes | None:
    """Find the hash that bytes hold of themselves, with zeros in the hash's place."""
    for found in set(DIGEST.findall(content)):
        if find_digest(content.replace(found, NO_DIGEST)) == found:
            return found
    return None


def _replace(path: Path, old: bytes, new: bytes) -> bool:
    """Replace bytes in a file; tells whether they were there."""
    if not path.is_file() or path.stat().st_size > MOST_BYTES or old not in (content := path.read_bytes()):
        return False
    path.write_bytes(content.replace(old, new))
    return True
