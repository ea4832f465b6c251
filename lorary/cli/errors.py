"""Turn what went wrong into one short paragraph and an exit code."""

import errno
import os
import sys
import traceback
from collections.abc import Callable

from lorary.errors import LoraryError

USER_ERROR = 2
INTERRUPTED = 130
# What a shell reports of a program that SIGPIPE ended.
BROKEN_PIPE = 141

ADVICE = {
    errno.ENOSPC: "free some space and run the same command again: what was finished is kept",
    errno.EACCES: "check who may read and write there",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOENT: "check the path",
}


def report_errors(action: Callable[[], int], debug: bool) -> int:
    """Run an action; explain on stderr what the user can put right, and let bugs through.

    Args:
        action: returns an exit code.
        debug: show the traceback, too.

    Returns:
        The action's exit code, 2 after an error, or 130 after Ctrl-C.
    """
    try:
        code = action()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has left; Python must not complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (LoraryError, ValueError, OSError) as error:
        _print_traceback(debug)
        print(f"error: {explain(error)}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt as interrupt:
        _print_traceback(debug)
        print(f"\nstopped: {explain_interrupt(interrupt)}", file=sys.stderr)
        return INTERRUPTED


def explain(error: Exception) -> str:
    """Say in one paragraph what went wrong, and for faults of the system what to do."""
    if not isinstance(error, OSError) or error.strerror is None:
        return " ".join(line.strip() for line in str(error).splitlines()) or type(error).__name__
    where = f": {error.filename!r}" if error.filename is not None else ""
    advice = ADVICE.get(error.errno or 0)
    return f"{error.strerror}{where}" + (f": {advice}" if advice else "")


def explain_interrupt(interrupt: KeyboardInterrupt) -> str:
    """Say what is kept: in the words of whoever was interrupted, where it had some."""
    return str(interrupt) or "what was finished is kept; run the same command again to go on"


def _print_traceback(debug: bool) -> None:
    if debug:
        traceback.print_exc()
