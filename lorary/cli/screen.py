"""The gate to the terminal: what others may have written is shown there, never acted on.

Everything that this room prints goes through ``lorary.cli.printing`` and ``lorary.cli.console``, which escape
it. This file is for what prints besides: other packages' warnings and logs.
"""

import os
import re
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from lorary.files import escape

# What tqdm, which draws the bars of downloads, moves the cursor with: writes that hold nothing else.
_MOVE = re.compile(r"\r|\n*(\x1b\[A)*")


class GuardedStream:
    """A text stream that escapes what a terminal would act on, whoever writes to it.

    Args:
        stream: where text goes; None, as it is in a process without standard streams, drops it.
    """

    def __init__(self, stream: TextIO | None):
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text; a bar on a terminal may go back to the beginning of its line."""
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
        """Hand on what was written so far."""
        if self.stream is not None:
            self.stream.flush()

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return self.stream is not None and self.stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def guard_streams() -> Iterator[None]:
    """Within this context stdout and stderr are given escapes for what they cannot show or encode."""
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
    """Tell whether whoever read a stream, at the other end of a pipe, has left."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(found & (select.POLLERR | select.POLLHUP) for _, found in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


def silence(stream: TextIO) -> None:
    """Send to nowhere what else is written: whoever read it has left, or its disk is full."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _fill_gaps() -> None:
    """Open what the process was started without, or the next file would get its number, and our messages."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
