"""Turn an exception into one short paragraph and an exit code."""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import TextIO

import lorary
from lorary.cli.printing import print_error
from lorary.cli.screen import is_left, silence
from lorary.errors import LoraryError
from lorary.files import escape, quote

USER_ERROR = 2
INTERRUPTED = 130
# The code that shells report for a program ended by SIGPIPE.
BROKEN_PIPE = 141

ADVICE = {
    errno.ENOSPC: "free some disk space and run the same command again; finished work is kept",
    errno.EACCES: "check the permissions of this path",
    errno.EROFS: "choose a writable place",
    errno.ENOENT: "check the path",
}
# Longest message in characters.
LONGEST = 1000
PACKAGE = Path(lorary.__file__).parent
UNKNOWN = (
    "a file or an option is invalid, or lorary has a bug: run the same command with --debug, "
    "and report its output if all files are valid"
)
# Packages whose errors are network errors.
NETWORK = {"aiohttp", "botocore", "httpcore", "httpx"}
# Variable names that hold the current file in this package's functions.
PLACES = ("path", "file", "folder", "place", "url")


def report_errors(action: Callable[[], int], debug: bool) -> int:
    """Run an action, and explain any error on stderr.

    Args:
        action: returns an exit code.
        debug: whether to show the traceback too.

    Returns:
        The action's exit code, 2 after an error, 130 after Ctrl-C, or 141 if the reader of the output has
        closed the pipe.
    """
    try:
        return _run(action, debug)
    except KeyboardInterrupt:
        return INTERRUPTED  # a second Ctrl-C, while the first one's message was printed
    finally:
        for stream in (sys.stdout, sys.stderr):
            _finish(stream)


def _run(action: Callable[[], int], debug: bool) -> int:
    try:
        code = action()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as interrupt:
        print_error(f"\n{_trace(debug)}stopped: {explain_interrupt(interrupt)}")
        return INTERRUPTED
    # PyO3's panics are not subclasses of Exception, and some packages raise SystemExit.
    except BaseException as error:
        if isinstance(error, BrokenPipeError) and (is_left(sys.stdout) or is_left(sys.stderr)):
            return BROKEN_PIPE
        print_error(f"{_trace(debug)}error: {explain(error)}")
        return USER_ERROR


def explain(error: BaseException) -> str:
    """Describe an error in one paragraph: the problem, and what to do or where it happened."""
    if isinstance(error, OSError) and error.strerror is not None:
        where = f": {quote(error.filename)}" if error.filename is not None else ""
        advice = ADVICE.get(error.errno or 0)
        return f"{error.strerror}{where}" + (f": {advice}" if advice else "")
    if _is_ours(error):
        return escape(_say(error), longest=LONGEST)
    return f"{escape(_say(error), longest=LONGEST // 2)} ({_describe_place(error)}): {_advise(error)}"


def _advise(error: BaseException) -> str:
    if isinstance(error, ImportError):
        return "install the missing package"
    package = type(error).__module__.partition(".")[0]
    return "check the address and the network connection" if package in NETWORK else UNKNOWN


def explain_interrupt(interrupt: KeyboardInterrupt) -> str:
    """Describe what an interrupt kept, by the interrupt's own message or a general one."""
    return _say(interrupt, "finished work is kept; run the same command again to continue")


def _say(error: BaseException, default: str | None = None) -> str:
    try:
        text = " ".join(line.strip() for line in str(error).splitlines())
    except Exception:
        text = ""
    return text or default or type(error).__name__


def _is_ours(error: BaseException) -> bool:
    """Return whether an error's message was written for the user of the command."""
    if isinstance(error, LoraryError | OSError):
        return True
    frames = list(_walk(error.__traceback__))
    return isinstance(error, ValueError) and (not frames or _is_lorary(frames[-1][0]))


def _describe_place(error: BaseException) -> str:
    """Name the error's class, the line that raised it, this package's calling line, and the current file."""
    frames = list(_walk(error.__traceback__))
    own = [place for place in frames if _is_lorary(place[0])]
    lines = dict.fromkeys(_name_line(*place) for place in (*frames[-1:], *own[-1:]))
    file = _find_file([frame for frame, _ in own])
    return (
        type(error).__name__
        + (f" in {', called from '.join(lines)}" if lines else "")
        + (f", working on {quote(file)}" if file is not None else "")
    )


def _walk(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _is_lorary(frame: FrameType) -> bool:
    return Path(frame.f_code.co_filename).is_relative_to(PACKAGE)


def _name_line(frame: FrameType, line: int) -> str:
    path = Path(frame.f_code.co_filename)
    # Short paths identify the line and do not reveal the home folder.
    parts = path.relative_to(PACKAGE.parent).parts if _is_lorary(frame) else path.parts[-2:]
    return f"{'/'.join(parts)}:{line}"


def _find_file(frames: list[FrameType]) -> str | None:
    for frame in reversed(frames):
        for name in PLACES:
            value = frame.f_locals.get(name)
            if isinstance(value, str | os.PathLike) and os.fspath(value):
                return str(os.fspath(value))
    return None


def _trace(debug: bool) -> str:
    return traceback.format_exc() if debug else ""


def _finish(stream: TextIO) -> None:
    # Python flushes again at exit and reports the error a second time, unless the stream is silenced.
    try:
        stream.flush()
    except (OSError, ValueError):
        silence(stream)
