"""Run every operation of a library again and again, with something going wrong at each system call in turn.

    python faults.py folder kind…

makes a library with experts 'a' and 'b' in the folder. For each operation, kind of fault and system
call, a copy of it meets the fault there. Printed is one line of JSON: what became of them, and what must not
have been.
"""

import errno
import inspect
import json
import os
import re
import shutil
import signal
import sys
from collections import Counter
from itertools import count
from pathlib import Path

import torch

from lorary.errors import LoraryError
from lorary.experts import Expert, Factors
from lorary.library import Library
from lorary.library.failure import EXPERTS_UNCHANGED
from lorary.library.storage.contract import Outcome
from lorary.library.storage.local import calls
from lorary.library.storage.places import JOURNAL, TMP, TRASH

CHANGES = {
    "add": lambda library: library.add(build_expert(3), "new"),
    "replace": lambda library: library.update(a=build_expert(3)),
    "delete": lambda library: library.__delitem__("a"),
    "rename": lambda library: library.rename("a", "new"),
    "copy": lambda library: library.copy("a", "new"),
}
READINGS = {
    "derive": lambda library: library.artifacts("sum-1", {}, sum_factors),
    "prune": lambda library: library.prune(),
    "list": lambda library: (list(library), library.entries(), "a" in library, library.weight_hashes()),
    "read": lambda library: dict(library["a"].factors),
    "verify": lambda library: library.verify(),
}
OPERATIONS = CHANGES | READINGS
ERRORS = {name: getattr(errno, name) for name in ("EIO", "ESTALE", "EACCES", "ENOSPC")}
# What may be done although its answer says that it failed.
DOING = ("write", "rename", "unlink", "remove_folder", "make_folder", "sync")
# Being killed there is being killed at the next call; what fails there has no effect.
LEFT_OUT = ("close",)


def build_expert(seed):
    draw = torch.Generator().manual_seed(seed)
    return Expert(
        "any", "tiny", {"q": Factors(torch.randn(2, 8, generator=draw), torch.randn(6, 2, generator=draw))}
    )


def sum_factors(experts):
    return {
        name: {path: torch.stack([a.sum(), b.sum()]) for path, (a, b) in expert.factors.items()}
        for name, expert in experts.items()
    }


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


class Trial:
    """One library to which something happened, and what must hold of it then."""

    def __init__(self, folder, states, log, label):
        self.root = folder / "trial"
        self.states = states
        self.log = log
        self.label = label
        shutil.copytree(folder / "template", self.root)
        self.before = self.look()

    def look(self, also_private=False):
        """List all files, and folders that wait to be moved, but for what is drawn in their names."""
        found = []
        for path in self.root.rglob("*"):
            name = str(path.relative_to(self.root))
            if also_private or not name.startswith(".lorary"):
                found.append((re.sub("[0-9a-f]{32}", "", name), path.stat().st_size))
        return sorted(found)

    def kill(self, operation, number):
        """Do something in a process that is killed at a call; tell whether it got to its end."""
        process = os.fork()
        if process == 0:
            code = 1
            try:
                with Faults([number], kill_self):
                    operation(Library.open(self.root))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(process, 0)
        self.expect(status in (0, signal.SIGKILL), f"the process ended with {status}")
        return status == 0

    def fail(self, operation, faults):
        """Do something, meeting faults; check what is said of it; tell whether it got to its end."""
        message = None
        try:
            with faults:
                operation(Library.open(self.root))
        except LoraryError as error:
            message = str(error)
        except KeyboardInterrupt:
            self.check(self.states)
            return False
        except Exception as error:
            self.expect(False, f"{type(error).__name__}: {error}")
        before, after = self.states[0], self.states[-1]
        if message is None:
            self.check([after])
        elif message.endswith(Outcome.UNKNOWN.value):
            self.check(self.states)
        elif message.endswith((Outcome.MADE.value, Outcome.UNFINISHED.value)):
            self.check([after])
        else:
            self.expect(len(message) < 1000, "a long message")
            if self.label[0] in CHANGES:
                self.expect(self.look() == self.before, f"it is not as it was: {message}")
                self.expect(not (self.root / JOURNAL).exists(), f"there is a journal: {message}")
            if message.endswith((Outcome.UNCHANGED.value, EXPERTS_UNCHANGED)):
                self.log.outcomes["unchanged"] += 1
            self.check([before])
        for outcome in Outcome:
            if message and message.endswith(outcome.value):
                self.log.outcomes[outcome.name] += 1
        return not faults.happened

    def check(self, states):
        """See that the library is whole, in one of these states, and that nothing is left over."""
        self.log.trials += 1
        try:
            library = Library.open(self.root)
            problems = list(map(str, library.verify()))
            found = library.weight_hashes()
        except Exception as error:
            self.expect(False, f"afterwards {type(error).__name__}: {error}")
            return None
        self.expect(not problems, f"problems: {problems}")
        self.expect(found in states, f"experts are {sorted(found)}")
        left = [str(path) for place in (TMP, TRASH) for path in (self.root / place).glob("*")]
        self.expect(not left, f"left over: {left}")
        self.expect(not (self.root / JOURNAL).exists(), "a journal is left")
        return found

    def expect(self, holds, what):
        if not holds:
            self.log.violations.append(f"{self.label}: {what}")

    def close(self):
        shutil.rmtree(self.root)


class Log:
    def __init__(self):
        self.trials = 0
        self.outcomes = Counter()
        self.violations = []


def try_kills(start, names):
    """A single kill at each call: the change happened or not, and once it did, no later call undoes it."""
    for name in names:
        is_made = False
        for number in count(1):
            trial = start(name, f"killed at {number}")
            is_end = trial.kill(OPERATIONS[name], number)
            found = trial.check(trial.states)
            trial.expect(not is_made or found == trial.states[-1], "a later call takes it back")
            is_made = found == trial.states[-1] != trial.states[0]
            trial.close()
            if is_end:
                break


def list_crashes(start, name):
    """List calls that leave something if a writer is killed there: once for each state it can leave."""
    found = {}
    is_end = False
    for number in count(1):
        if is_end:
            break
        trial = start(name, f"killed at {number}")
        is_end = trial.kill(OPERATIONS[name], number)
        if (trial.root / JOURNAL).exists():
            found.setdefault(str(trial.look(also_private=True)), number)
        elif any(any((trial.root / place).glob("*")) for place in (TMP, TRASH)):
            found["only rubbish"] = number
        trial.close()
    return sorted(found.values())


def try_double_kills(start, names):
    """Whoever finishes what a killed writer left is killed at each call, too."""
    for name in names:
        for number in list_crashes(start, name):
            for second in count(1):
                trial = start(name, f"killed at {number}, then at {second}")
                trial.kill(OPERATIONS[name], number)
                has_journal = (trial.root / JOURNAL).exists()
                is_end = trial.kill(list, second)
                trial.check(trial.states[-1:] if has_journal else trial.states)
                trial.close()
                if is_end:
                    break


def try_failing_repairs(start, names):
    """Whoever finishes what a killed writer left meets an error at each call: nothing is lost by it."""
    faults = [*map(make_error, ERRORS.values()), interrupt]
    for name in names:
        for number in list_crashes(start, name):
            for second in count(1, STRIDE):
                trial = start(name, f"killed at {number}, then an error at {second}")
                trial.kill(OPERATIONS[name], number)
                if not (trial.root / JOURNAL).exists():
                    trial.close()
                    break
                trial.states = trial.states[-1:]
                # All that a failed listing says of the library is that it failed.
                trial.label = ("list", *trial.label)
                is_end = trial.fail(list, Faults([second], faults[(number + second) % len(faults)]))
                trial.close()
                if is_end:
                    break


def try_faults(start, names, faults, is_late=False, lasts=False):
    """A fault at calls, of each kind in turn; one that lasts happens at all later calls, too."""
    for name in names:
        for number in count(1, 1 if lasts else STRIDE):
            fault = faults[number % len(faults)]
            trial = start(name, f"{fault.__name__} at {number}, late: {is_late}, lasting: {lasts}")
            numbers = [number, None] if lasts else [number]
            is_end = trial.fail(OPERATIONS[name], Faults(numbers, fault, is_late))
            trial.close()
            if is_end:
                break


def try_double_errors(start, names, most_steps=40):
    """A call that changes something fails while a change is published, and another while that is undone."""
    fault = make_error(errno.EIO)
    for name in names:
        trial = start(name, "not at all")
        faults = Faults([10**9], fault)
        trial.fail(OPERATIONS[name], faults)
        trial.close()
        publishing = faults.trace.index("rename")
        for number, call in enumerate(faults.trace, 1):
            if number <= publishing or call not in (*DOING, "look_at"):
                continue
            for step in range(1, most_steps + 1, STRIDE):
                is_late = bool((number + step) % 2)
                trial = start(name, f"errors at {number} and {step} calls later, late: {is_late}")
                trial.fail(OPERATIONS[name], Faults([number, number + step], fault, is_late))
                trial.close()


# Kills come at every call, second ones too. Of errors that can be undone every third is enough for each run
# of the tests; LORARY_FAULTS_STRIDE=1 tries them all.
STRIDE = int(os.environ.get("LORARY_FAULTS_STRIDE", "3"))
WRITING = [*CHANGES, "derive", "prune"]
KINDS = {
    "kill": lambda start: try_kills(start, WRITING),
    "double-kill": lambda start: try_double_kills(start, CHANGES),
    "failing-repair": lambda start: try_failing_repairs(start, ["replace", "rename"]),
    "error": lambda start: try_faults(start, OPERATIONS, list(map(make_error, ERRORS.values()))),
    "late-error": lambda start: try_faults(start, WRITING, [make_error(errno.EIO)], is_late=True),
    "interrupt": lambda start: try_faults(start, WRITING, [interrupt]),
    "lasting-error": lambda start: try_faults(start, WRITING, [make_error(errno.EIO)], lasts=True),
    "double-error": lambda start: try_double_errors(start, CHANGES),
}


def main(folder, *kinds):
    folder = Path(folder)
    # What a killed process has written stays without it: only a power cut needs it.
    os.fsync = lambda descriptor: None
    library = Library.open(folder / "template", create=True)
    library["a"], library["b"] = build_expert(1), build_expert(2)
    library.artifacts("sum-1", {"old": True}, sum_factors)
    library["incoming"] = build_expert(3)
    hashes = library.weight_hashes()
    incoming = hashes["incoming"]
    del library["incoming"], hashes["incoming"]
    after = {
        "add": {**hashes, "new": incoming},
        "replace": {**hashes, "a": incoming},
        "delete": {"b": hashes["b"]},
        "rename": {"b": hashes["b"], "new": hashes["a"]},
        "copy": {**hashes, "new": hashes["a"]},
    }
    found = {}
    for kind in kinds:
        log = Log()

        def start(name, label, log=log, kind=kind):
            return Trial(folder, [hashes, after.get(name, hashes)], log, (name, kind, label))

        KINDS[kind](start)
        found[kind] = {"trials": log.trials, "outcomes": log.outcomes, "violations": log.violations}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
