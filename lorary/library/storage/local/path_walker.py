"""Opening files and folders of a library without following links.

Every path is opened part by part from the library's own folder, each part relative to the folder opened
before it. So no path leads outside, even if someone replaces a folder by a link in the meantime.
"""

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lorary.errors import LibraryError
from lorary.files import quote, require_regular
from lorary.library.storage.contract import refuse_link
from lorary.library.storage.local import calls

# Errors of different systems for opening a link with O_NOFOLLOW.
_MAYBE_LINK = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)


class PathWalker:
    """Opens files and folders by their paths below a library's own folder.

    Args:
        url: the library's URL, for messages.
        root: path of its own folder; links in this path are followed.
    """

    def __init__(self, url: str, root: str):
        self.url = url
        self.root = root

    def path(self, relative: str) -> str:
        """Return a path in terms of the file system, for messages."""
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
        """Open a regular file; the caller closes it."""
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
        """Within this context the parent folder of a path is open; yields it and the path's last part."""
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
            raise ValueError(
                f"a path inside a library must not have a part {part!r}, found {quote(relative)}"
            )
    return parts


def _close(descriptor: int) -> None:
    # Errors of closing are ignored, since everything that was written was flushed before.
    with suppress(OSError):
        calls.close(descriptor)
