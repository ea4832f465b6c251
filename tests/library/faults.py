"""Run every change of a library again and again, with something going wrong at each step in turn.

    python faults.py template incoming out

``template`` is a library with experts 'a' and 'b', ``incoming`` an expert's folder. For each kind of fault,
each change and each step n, ``out/<kind>/<change>/<n>`` becomes a copy of the template to which the change
was made with a fault at its n-th step. The last n of each is the change without a fault.
"""

import errno
import os
import shutil
import signal
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

import torch
from fsspec.implementations.local import LocalFileOpener

from lorary.errors import LibraryError
from lorary.experts import read_peft
from lorary.library import Library

CHANGES = {
    "add": lambda library, incoming: library.add(incoming, "new"),
    "replace": lambda library, incoming: library.update(a=incoming),
    "delete": lambda library, incoming: library.pop("a"),
    "rename": lambda library, incoming: library.rename("a", "new"),
    "copy": lambda library, incoming: library.copy("a", "new"),
    "derive": lambda library, incoming: library.artifacts("sum-1", {}, sum_factors),
    "create": lambda library, incoming: Library.open(f"{library.url}/inner", create=True),
    "read": lambda library, incoming: library.entries(),
}
# What takes room on the disk. Removing does not.
FILLING = [(os, "fsync"), (os, "rename"), (os, "mkdir"), (shutil, "copyfile")]
STEPS = [*FILLING, (os, "unlink"), (os, "remove"), (os, "rmdir")]


def sum_factors(experts):
    return {
        name: {path: torch.stack([a.sum(), b.sum()]) for path, (a, b) in expert.factors.items()}
        for name, expert in experts.items()
    }


class Faults:
    """Lets a fault happen before the ``number``-th of some steps, or in its middle if that is a write.

    A lasting one happens at all later steps too.
    """

    def __init__(self, number, steps, fault, lasting=False):
        self.number = number
        self.steps = steps
        self.fault = fault
        self.lasting = lasting
        self.made = 0

    @property
    def happened(self):
        return self.made >= self.number

    def count_step(self):
        self.made += 1
        if self.made == self.number or (self.lasting and self.happened):
            self.fault()

    def __enter__(self):
        self.originals = [(owner, name, getattr(owner, name)) for owner, name in self.steps]
        self.originals.append((LocalFileOpener, "write", LocalFileOpener.write))
        for owner, name, original in self.originals:
            setattr(owner, name, self.make_write(original) if name == "write" else self.make(name, original))
        return self

    def __exit__(self, *error):
        for owner, name, original in self.originals:
            setattr(owner, name, original)

    def make(self, name, original):
        def step(*arguments, **options):
            self.count_step()
            # What a killed process has written stays without fsync: only a power cut needs it.
            return None if name == "fsync" else original(*arguments, **options)

        return step

    def make_write(self, original):
        def write(file, content):
            half = len(content) // 2
            original(file, content[:half])
            file.f.flush()
            self.count_step()
            return original(file, content[half:])

        return write


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def break_disk():
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def interrupt():
    raise KeyboardInterrupt


def kill_at(number, change, root, incoming):
    """Make a change in a process that is killed at a step; return whether it got to its end."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            with Faults(number, STEPS, kill_self):
                change(Library.open(root), incoming)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(process, 0)
    assert status in (0, signal.SIGKILL), f"a child ended with status {status}"
    return status == 0


def fill_at(number, change, root, incoming):
    """Make a change on a disk that is full at a step; keep the message; return whether it got to its end."""
    library = Library.open(root)
    faults = Faults(number, FILLING, fill_disk)
    try:
        with faults:
            change(library, incoming)
    except LibraryError as error:
        Path(f"{root}.message").write_text(str(error))
    return not faults.happened


def break_at(number, change, root, incoming):
    """Make a change on a disk that does nothing any more from a step on; return whether it got to its end."""
    library = Library.open(root)
    faults = Faults(number, STEPS, break_disk, lasting=True)
    with suppress(LibraryError), faults:
        change(library, incoming)
    return not faults.happened


def interrupt_at(number, change, root, incoming):
    """Make a change with Ctrl-C at a step; return whether it got to its end."""
    library = Library.open(root)
    faults = Faults(number, STEPS, interrupt)
    try:
        with faults:
            change(library, incoming)
    except KeyboardInterrupt:
        return False
    assert not faults.happened, "Ctrl-C was swallowed"
    return True


def kill_repair_at(out, incoming):
    """Kill those who come after a crash and finish what it left."""
    for name in ("replace", "rename"):
        for crashed in sorted((out / "kill" / name).iterdir()):
            if not (crashed / ".lorary" / "journal.json").exists():
                continue
            for number in count(1):
                root = out / "kill-repair" / name / f"{crashed.name}-{number:03}"
                shutil.copytree(crashed, root)
                if kill_at(number, CHANGES["read"], root, incoming):
                    break


def main(template, incoming, out):
    incoming = read_peft(incoming)
    kinds = {"kill": kill_at, "full": fill_at, "break": break_at, "interrupt": interrupt_at}
    for kind, run_at in kinds.items():
        for name, change in CHANGES.items():
            for number in count(1):
                root = out / kind / name / f"{number:03}"
                shutil.copytree(template, root)
                if run_at(number, change, root, incoming):
                    break
    kill_repair_at(out, incoming)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
