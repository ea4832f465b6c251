"""Run every operation of a library again and again, with something going wrong at each system call in turn.

    python faults.py folder kind…

makes a library with experts 'a' and 'b' in the folder. For each operation, kind of fault and system
call, a copy of it meets the fault there. Printed is one line of JSON: what became of them, and what must not
have been.
"""

import errno
import json
import os
import sys
from itertools import count
from pathlib import Path

from lorary.library import Library
from lorary.library.storage.places import JOURNAL, TMP, TRASH
from tests.library.system_faults import DOING, ERRORS, Faults, interrupt, make_error
from tests.library.trial import CHANGES, OPERATIONS, Log, Trial, build_expert, sum_factors


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
