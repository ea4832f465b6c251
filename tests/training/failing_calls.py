"""Every call to the file system below a folder, counted, and one of them made to fail or to kill."""

import builtins
import io
import os
from contextlib import contextmanager

from lorary.training.folder import state_file

CALLS = (
    *("open", "stat", "lstat", "scandir", "listdir", "mkdir", "rmdir", "unlink", "remove"),
    *("rename", "replace", "link", "symlink", "chmod", "fsync", "ftruncate", "pwrite"),
)


@contextmanager
def at_call(number, act, folder):
    """Within this context, ``act()`` is called before the ``number``-th call (from 1) that touches a folder.

    Calls by descriptor count too. Yields a list of the names of the calls so far.
    """
    seen = []
    places = [(os, name) for name in CALLS]
    places += [(io, "open"), (builtins, "open"), (state_file, "save_file"), (state_file, "safe_open")]
    originals = [(place, name, getattr(place, name)) for place, name in places]

    def watch(name, original):
        def watched(*args, **options):
            if _touches(args, options, str(folder)):
                seen.append(name)
                if len(seen) == number:
                    act()
            return original(*args, **options)

        return watched

    try:
        for place, name, original in originals:
            setattr(place, name, watch(name, original))
        yield seen
    finally:
        for place, name, original in originals:
            setattr(place, name, original)


def _touches(args, options, folder):
    for value in (*args[:2], options.get("dir_fd"), options.get("filename")):
        if isinstance(value, int) and not isinstance(value, bool):
            return True
        if isinstance(value, str | os.PathLike) and str(os.fspath(value)).startswith(folder):
            return True
    return False
