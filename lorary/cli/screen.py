"""Guarded stdout and stderr: control characters are shown as text, and the terminal never acts on them.

Commands print through ``lorary.cli.printing`` and ``lorary.cli.console``, which escape their texts. This
module escapes the output of other packages, such as warnings and logs.
"""

import os
import re
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from lorary.files import escape

# tqdm, which draws download bars, moves the cursor by writes that contain nothing else.
_MOVE = re.compile(r"\r|\n*(\x1b\[A)*")


class GuardedStream:
    """A text stream that escapes control characters.

    Args:
        stream: the target; None, as in a process without standard streams, discards the text.
    """

    def __init__(self, stream: TextIO | None):
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text; on a terminal, a progress bar's cursor movements at its start are kept."""
        if self.stream is not None:
            start = _MOVE.match(text) if self.stream.isatty() else None
            moves = start.end() if start and (start[0] == "\r" or start[0] == text) else 0
            self.stream.write(text[:moves] + escape(text[moves:]))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the target."""
        if self.stream is not None:
            self.stream.flush()

    def isatty(self) -> bool:
        """Return whether the target is a terminal."""
        return self.stream is not None and self.stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def guard_streams() -> Iterator[None]:
    """Within this context, escape what stdout and stderr cannot show or encode."""
    kept = sys.stdout, sys.stderr
    _fill_gaps()
    for stream in kept:
        # Not every replacement for them has an encoding.
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.stdout, sys.stderr = (cast(TextIO, GuardedStream(stream)) for stream in kept)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept


def is_left(stream: TextIO) -> bool:
    """Return whether a stream is a pipe whose reader has closed it."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(found & (select.POLLERR | select.POLLHUP) for _, found in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


def silence(stream: TextIO) -> None:
    """Discard all further output of a stream, after its pipe was closed or its disk became full."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _fill_gaps() -> None:
    """Open missing standard streams: otherwise the next opened file gets their number, and our messages."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
