"""Trying many inputs in processes that may be lost, and counting what came of them."""

import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from tests.hostile.kinds import Choices
from tests.hostile.reader import Reader
from tests.hostile.surroundings import Surroundings
from tests.hostile.trial import Outcome, Trial, limit_memory

# Beyond a trial's own limit: it is then deep in code that hears no signals.
PATIENCE_SECONDS = 25.0
BATCH = 200


class Prepared(NamedTuple):
    """A reader with its good input."""

    reader: Reader
    choices: Choices
    expected: Any
    """The good input's answer."""


def prepare(reader: Reader, folder: Path, around: Surroundings) -> Prepared:
    """Make a reader's good input, and make sure that it is accepted."""
    around.enter()
    good = folder / reader.name
    good.mkdir(parents=True)
    reader.make(good)
    result = reader.read(around.place(good))
    reader.check(result)
    # Twice: what is kept in this process must not change the answer.
    expected, again = (reader.answer(result), None) if reader.answer else (None, None)
    if reader.answer:
        again = reader.answer(reader.read(around.place(good)))
        assert again == expected, f"{reader.name}: the good input gives two answers"
    return Prepared(reader, Choices(reader, good), expected)


def try_all(prepared: Prepared, numbers: Iterable[int], around: Surroundings, seed: int) -> Iterator[Outcome]:
    """Try inputs by their numbers; a process that is lost is a finding, and the next goes on after it."""
    waiting = list(numbers)
    while waiting:
        batch = waiting[:BATCH]
        for outcome in _run_batch(Trial(prepared.choices, prepared.expected, around, seed), batch):
            waiting.pop(0)
            yield outcome


def _run_batch(trial: Trial, numbers: Sequence[int]) -> Iterator[Outcome]:
    """Fork, and yield outcomes until the child is done or lost; a loss is the last outcome."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # newer Pythons warn of forking beside threads; none of them is in use
        child = os.fork()
    if child == 0:
        _live(trial, numbers, reading, writing)
    os.close(writing)
    begun, done = None, 0
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        for line in _read_lines(pipe.fileno()):
            outcome = Outcome(**json.loads(line))
            if begun is not None:
                done += 1
                yield outcome
            begun = outcome if begun is None else None
        was_slow = _end(child)
    _, status = os.waitpid(child, 0)
    if begun is not None:
        begun.fault = "too slow" if was_slow else "crash"
        begun.detail = "heard no signal" if was_slow else _explain(status)
        yield begun
    elif done < len(numbers):
        where = f"{trial.reader.name}, seed {trial.seed}, number {numbers[done]}"
        raise RuntimeError(f"the contract itself failed at {where}")


def _read_lines(descriptor: int) -> Iterator[bytes]:
    """Yield lines until the pipe is closed or nothing comes for too long."""
    rest = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], PATIENCE_SECONDS)
        if not ready:
            return
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def _end(child: int) -> bool:
    """End a child that is still there; tells if it was."""
    for _ in range(20):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return False
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    return True


def _explain(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"left with exit code {os.waitstatus_to_exitcode(status)}"


def _live(trial: Trial, numbers: Sequence[int], reading: int, writing: int) -> None:
    """Be the child: try, tell, and leave without the parent's clearing up."""
    complaints = os.dup(2)
    try:
        os.close(reading)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        warnings.simplefilter("ignore")
        trial.around.enter()
        limit_memory()

        def tell(outcome: Outcome) -> None:
            os.write(writing, (json.dumps(asdict(outcome)) + "\n").encode())

        for number in numbers:
            tell(trial.run(number, tell))
    except BaseException:
        os.write(complaints, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        os._exit(0)
