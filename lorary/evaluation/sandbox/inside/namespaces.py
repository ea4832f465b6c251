"""Linux namespaces: no network, only the sandbox's own processes, and a file system of a few folders."""

import ctypes
import os
import platform
import struct
from collections.abc import Sequence

from .calls import call, call_system

NEW_MOUNTS, NEW_NAMES, NEW_IPC = 0x00020000, 0x04000000, 0x08000000
NEW_USERS, NEW_PROCESSES, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
# Numbers of system calls that the C library may lack.
MOUNT_SETATTR = 442
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
WORK = "/lorary-work"
TEMPORARY = "/tmp"
# Of files and folders in the work folder.
MAX_FILES = 4096


def leave_processes(is_root: bool) -> None:
    """Make the next child the first process of a new process namespace.

    Raises:
        OSError: where it is not allowed.
    """
    user, group = os.getuid(), os.getgid()
    call("unshare", NEW_PROCESSES if is_root else NEW_USERS | NEW_PROCESSES)
    if not is_root:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")


def leave_system(folder: str, visible: Sequence[str], folder_mb: int) -> None:
    """Leave the network and the file system.

    What remains is ``visible``, read-only, and an empty work folder.

    Args:
        folder: an empty folder, where the new file system is built.
        visible: files and folders that can be read at the same paths.
        folder_mb: size of the work folder, which is in memory.

    Raises:
        OSError: where it is not allowed.
    """
    call("unshare", NEW_MOUNTS | NEW_NAMES | NEW_IPC | NEW_NETWORK)
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    _mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for path in (*visible, *DEVICES):
        _show(path, folder)
    work = folder + WORK
    os.mkdir(work)
    if not os.path.exists(folder + TEMPORARY):
        os.symlink(WORK, folder + TEMPORARY)
    options = f"size={folder_mb}m,nr_inodes={MAX_FILES},mode=1777"
    _mount("tmpfs", work, "tmpfs", MS_NOSUID | MS_NODEV, options)
    old = f"{folder}/.old"
    os.mkdir(old)
    call_system(PIVOT_ROOT[platform.machine()], os.fsencode(folder), os.fsencode(old))
    os.chdir("/")
    call("umount2", b"/.old", MNT_DETACH)
    os.rmdir("/.old")
    _mount("none", "/", "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chdir(WORK)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _show(path: str, folder: str) -> None:
    """Show a file or folder below another root, read-only; a link is recreated."""
    target = folder + path
    if os.path.lexists(target) or not os.path.exists(path):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.mkdir(target)
    else:
        _write(target, "")
    _mount(path, target, "", MS_BIND | MS_REC)
    if not path.startswith("/dev/"):
        _make_read_only(target)


def _make_read_only(path: str) -> None:
    # struct mount_attr: attr_set (read-only, no set-user-id, no devices), attr_clr, propagation, userns_fd.
    attributes = ctypes.create_string_buffer(struct.pack("QQQQ", 1 | 2 | 4, 0, 0, 0), 32)
    try:
        call_system(MOUNT_SETATTR, AT_FDCWD, os.fsencode(path), AT_RECURSIVE, attributes, 32)
    except OSError:  # before Linux 5.12
        _mount("none", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    words = [os.fsencode(word) if word else None for word in (source, target, kind)]
    call("mount", *words, flags, options.encode() or None)
