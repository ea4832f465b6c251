"""Faults at the system calls of a local library: errors, interruptions and kills."""

import errno
import inspect
import os
import signal

from lorary.library.storage.local import calls

ERRORS = {name: getattr(errno, name) for name in ("EIO", "ESTALE", "EACCES", "ENOSPC")}
# What may be done although its answer says that it failed.
DOING = ("write", "rename", "unlink", "remove_folder", "make_folder", "sync")
# Being killed there is being killed at the next call; what fails there has no effect.
LEFT_OUT = ("close",)


class Faults:
    """Lets a fault happen at some of the system calls, counted from 1; of a write, half is made before.

    Args:
        numbers: which calls; ``None`` stands for all that follow.
        fault: raises an error, or ends the process.
        is_late: what is asked for is done before the fault, as on a server whose answer is lost.
    """

    def __init__(self, numbers, fault, is_late=False):
        self.numbers = numbers
        self.fault = fault
        self.is_late = is_late
        self.made = 0
        self.trace = []

    @property
    def happened(self):
        return self.made >= self.numbers[0]

    def __enter__(self):
        self.originals = dict(inspect.getmembers(calls, inspect.isfunction))
        for name, original in self.originals.items():
            if name not in LEFT_OUT:
                setattr(calls, name, self.wrap(name, original))
        return self

    def __exit__(self, *error):
        for name, original in self.originals.items():
            setattr(calls, name, original)

    def wrap(self, name, original):
        def step(*arguments):
            self.made += 1
            self.trace.append(name)
            is_last = self.numbers[-1] is None and self.made >= self.numbers[-2]
            if self.made not in self.numbers and not is_last:
                return original(*arguments)
            if name == "write":
                original(arguments[0], arguments[1][: len(arguments[1]) // 2])
            elif self.is_late and name in DOING:
                original(*arguments)
            return self.fault()

        return step


def make_error(number):
    def fail():
        raise OSError(number, os.strerror(number))

    fail.__name__ = errno.errorcode[number]
    return fail


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt():
    raise KeyboardInterrupt
