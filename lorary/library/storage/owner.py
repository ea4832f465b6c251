"""Whose leftovers these are: this user's, on this machine, of this very folder, or somebody else's."""

import hashlib
import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

# What names a machine for as long as its system is installed; what it holds is not meant to be published.
MACHINE_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")
OWNER_DIGITS = 16


class Identified(Protocol):
    """A folder that can be told from its copies."""

    def identify(self) -> str:
        """Tell this folder from its copies, which an inode does; empty where nothing does."""


def identify_owner(folder: Identified) -> str:
    """Name whoever changes a library from here, in 16 hexadecimal digits.

    Another machine, another user and a copy of the folder give others, each time the same. The disk that the
    folder lies on does not count: its number may change when the machine starts anew.

    Raises:
        OSError: if the folder cannot be looked at.
    """
    parts = ("lorary library", _read_machine(), str(os.geteuid()), folder.identify())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:OWNER_DIGITS]


@cache
def _read_machine() -> str:
    for file in MACHINE_FILES:
        with suppress(OSError, ValueError):
            found = Path(file).read_text("ascii").strip()
            if found:
                return found
    return platform.node()
