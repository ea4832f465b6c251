"""An id of the writer of a change: machine, user and folder. It shows whose leftovers may be finished."""

import hashlib
import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

# Files with the machine's id, which stays the same while the system is installed. It is confidential, so only
# a hash of it is stored.
MACHINE_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")
OWNER_DIGITS = 16


class Identified(Protocol):
    """A folder with an identifier that its copies do not have."""

    def identify(self) -> str:
        """Return the folder's identifier, such as its inode; empty if it has none."""


def identify_owner(folder: Identified) -> str:
    """Return the id of this machine, user and folder, as 16 hexadecimal digits.

    Another machine, another user, or a copy of the folder has another id. The device number is not included,
    because it may change at a restart.

    Raises:
        OSError: if the folder's status cannot be read.
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
