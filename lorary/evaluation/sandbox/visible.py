"""The files that a sandbox can read: Python, its libraries and installed packages."""

import os
import sys
import sysconfig
from functools import cache

SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
)


@cache
def list_visible() -> tuple[str, ...]:
    """List files and folders, outer ones first, with their own paths and the targets of links."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    paths += [os.path.join(sys.base_prefix, "lib"), *list_site_packages(), *SYSTEM]
    found = {os.path.abspath(path) for path in paths} | {os.path.realpath(path) for path in paths}
    return tuple(sorted(path for path in found if os.path.exists(path) and path != "/"))


@cache
def list_site_packages() -> tuple[str, ...]:
    """List the folders of installed packages."""
    return tuple(dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")))
