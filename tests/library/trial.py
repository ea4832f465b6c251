"""What is done to a library while something goes wrong, and what must hold of it then."""

import os
import re
import shutil
import signal
from collections import Counter

import torch

from lorary.errors import LoraryError
from lorary.experts import Expert, Factors
from lorary.library import Library
from lorary.library.failure import EXPERTS_UNCHANGED
from lorary.library.storage.contract import Outcome
from lorary.library.storage.places import JOURNAL, TMP, TRASH
from tests.library.system_faults import Faults, kill_self

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
