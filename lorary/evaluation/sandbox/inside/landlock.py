"""Landlock: files and folders that a process and its children may reach, without privileges (Linux 5.13)."""

import ctypes
import os
import struct
from collections.abc import Sequence

from .calls import PR_SET_NO_NEW_PRIVS, call_system, control_process

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
BENEATH, ASK_VERSION = 1, 1
EXECUTE, READ_FILE, READ_FOLDER, WRITE_FILE = 1, 4, 8, 2
# All rights to files, by the version of Landlock that added the last of them.
RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}


def make_ruleset(readable: Sequence[str], work: str) -> int:
    """Allow to read ``readable``, and everything in the work folder; returns a file descriptor.

    Raises:
        OSError: if this kernel has no Landlock.
    """
    version = call_system(CREATE_RULESET, None, 0, ASK_VERSION)
    rights = RIGHTS[max(known for known in RIGHTS if known <= version)]
    ruleset = call_system(CREATE_RULESET, ctypes.create_string_buffer(struct.pack("Q", rights), 8), 8, 0)
    for path in readable:
        read = READ_FILE | EXECUTE | (READ_FOLDER if os.path.isdir(path) else 0)
        _allow(ruleset, path, read)
    _allow(ruleset, "/dev/null", READ_FILE | WRITE_FILE)
    _allow(ruleset, work, rights)
    return ruleset


def restrict_files(ruleset: int) -> None:
    """Restrict this process to what the rules allow, from now on."""
    control_process(PR_SET_NO_NEW_PRIVS)
    call_system(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # a folder that is missing here
    try:
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, file), 12)
        call_system(ADD_RULE, ruleset, BENEATH, rule, 0)
    finally:
        os.close(file)
