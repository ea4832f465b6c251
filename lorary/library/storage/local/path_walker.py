"""Opening what lies below a library's own folder, without following a link.

Every path is walked from the library's own folder, each part looked up in the folder that was opened before
it, so that nothing leads elsewhere, whoever exchanges a folder for a link meanwhile.
"""

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lorary.errors import LibraryError
from lorary.files import quote, require_regular
from lorary.library.storage.contract import refuse_link
from lorary.library.storage.local import calls

# What systems answer to opening a link that must not be followed.
_MAYBE_LINK = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)


class PathWalker:
    """Opens files and folders by their paths below a library's own folder.

    Args:
        url: the library's, for messages.
        root: its own folder, which may be reached through links.
    """

    def __init__(self, url: str, root: str):
        self.url = url
        self.root = root

    def path(self, relative: str) -> str:
        """Return the path of something in this folder, for messages."""
        return f"{self.root}/{relative}" if relative else self.root

    @contextmanager
    def file(self, relative: str, open_one: calls.Open | None = None) -> Iterator[int]:
        """Within this context a regular file is open, for reading if ``open_one`` is None."""
        descriptor = self.open_file(relative, open_one or calls.open_to_read)
        try:
            yield descriptor
        finally:
            _close(descriptor)

    def open_file(self, relative: str, open_one: calls.Open) -> int:
        """Open a regular file; whoever asked closes it."""
        with self.parent(relative) as (parent, name):
            descriptor = self._open(open_one, name, parent, relative)
        try:
            require_regular(calls.look(descriptor), self.path(relative))
        except BaseException:
            _close(descriptor)
            raise
        return descriptor

    @contextmanager
    def parent(self, relative: str) -> Iterator[tuple[int, str]]:
        """Within this context the folder above a path is open; gives it and the name in it."""
        *above, name = _split(relative)
        with self.folder("/".join(above)) as parent:
            yield parent, name

    @contextmanager
    def folder(self, relative: str) -> Iterator[int]:
        """Within this context a folder is open; ``""`` is the library's own."""
        descriptor = calls.open_root(self.root)
        try:
            walked = ""
            for part in _split(relative) if relative else ():
                walked += f"/{part}"
                inner = self._open(calls.open_folder, part, descriptor, walked[1:])
                _close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            _close(descriptor)

    def _open(self, open_one: calls.Open, name: str, parent: int, relative: str) -> int:
        try:
            return open_one(name, parent)
        except OSError as error:
            if error.errno in _MAYBE_LINK and stat.S_ISLNK(calls.look_at(name, parent).st_mode):
                raise LibraryError(refuse_link(self.url, relative)) from error
            error.filename = self.path(relative)
            raise


def _split(relative: str) -> list[str]:
    parts = relative.split("/")
    for part in ("", ".", ".."):
        if part in parts:
            raise ValueError(f"a path inside a library must not hold {part!r}, got {quote(relative)}")
    return parts


def _close(descriptor: int) -> None:
    # All that was written was synced before.
    with suppress(OSError):
        calls.close(descriptor)
