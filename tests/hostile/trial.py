"""One hostile input: made, read within limits, judged."""

import faulthandler
import gc
import resource
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from tests.hostile.kinds import Choices
from tests.hostile.library_inputs import REFUSED
from tests.hostile.reader import LONGEST_MESSAGE, Reader, check_shown
from tests.hostile.surroundings import Surroundings

MAX_SECONDS = 5.0
MAX_BYTES = 1_000_000_000
# What the process may map beyond what it has: stops before the machine is in need.
MAX_MAPPED = 3 << 30
REFUSAL, ACCEPTANCE, FINDING = "refused", "accepted", "finding"


@dataclass
class Outcome:
    """What came of one input."""

    number: int
    kind: str
    done: str
    """What was done to which file."""
    verdict: str
    """``refused``, ``accepted`` or ``finding``."""
    fault: str = ""
    """Of a finding: in a few words."""
    detail: str = ""
    """Of a finding: what happened, where."""
    seconds: float = 0.0


class TooLong(BaseException):
    """An input takes too long; no code under test may catch it."""


class Trial:
    """Tries inputs of one reader, in a process that may be lost.

    Args:
        choices: what is done to each input.
        expected: the good input's answer.
        around: where inputs are put.
        seed: of everything drawn.
    """

    def __init__(self, choices: Choices, expected: Any, around: Surroundings, seed: int):
        self.choices, self.expected, self.around, self.seed = choices, expected, around, seed
        self.reader: Reader = choices.reader

    def run(self, number: int, tell: Callable[[Outcome], None] = lambda outcome: None) -> Outcome:
        """Try one input.

        Args:
            number: the input's.
            tell: called before it is read, in case that this process does not survive it.
        """
        choice, inputs = self.choices.make(number, self.seed, self.around)
        outcome = Outcome(number, choice.kind, str(choice), FINDING, "crash", "nothing more was heard")
        tell(outcome)
        outcome.verdict, outcome.fault, outcome.detail = ACCEPTANCE, "", ""
        begun = time.process_time()
        reset_peak()
        before = read_memory("VmRSS")
        try:
            with _Watch():
                self._read(outcome, inputs, self.choices.is_sealed(choice))
        except TooLong as error:
            _find(outcome, "too slow", str(error), error)
        outcome.seconds = round(time.process_time() - begun, 3)
        self._look_around(outcome, before)
        return outcome

    def _read(self, outcome: Outcome, inputs: Path, is_sealed: bool) -> None:
        try:
            result = self.reader.read(inputs)
        except self.reader.raises as error:
            outcome.verdict = REFUSAL
            try:
                check_shown(str(error), LONGEST_MESSAGE)
            except AssertionError as fault:
                _find(outcome, "message", str(fault), error)
            return
        except AssertionError as error:
            _find(outcome, "unsound", str(error), error)
            return
        except Exception as error:
            _find(outcome, "traceback", f"{type(error).__name__}: {error}", error)
            return
        self._judge(outcome, result, is_sealed)

    def _judge(self, outcome: Outcome, result: Any, is_sealed: bool) -> None:
        try:
            self.reader.check(result)
            answer = self.reader.answer(result) if self.reader.answer else None
        except Exception as error:
            _find(outcome, "unsound", f"{type(error).__name__}: {error}", error)
            return
        if answer is REFUSED or getattr(result, "code", 0):
            outcome.verdict = REFUSAL
        elif is_sealed and answer != self.expected:
            _find(outcome, "silent accept", "another answer, and not a word")

    def _look_around(self, outcome: Outcome, before: int) -> None:
        grown = read_memory("VmHWM") - before
        if grown > MAX_BYTES:
            _find(outcome, "too large", f"{grown / 1e9:.1f} GB more than before")
        elif outcome.seconds > MAX_SECONDS:
            _find(outcome, "too slow", f"{outcome.seconds:.1f} s of computing")
        if damage := self.around.find_damage():
            _find(outcome, "harm", f"changed, made or removed: {', '.join(damage)[:500]}")
            self.around.build()
            self.around.enter()
        if grown > MAX_BYTES / 4:
            gc.collect()


def _find(outcome: Outcome, fault: str, detail: str, error: BaseException | None = None) -> None:
    outcome.verdict, outcome.fault = FINDING, fault
    outcome.detail = f"{detail[:600]}{_locate(error)}"


def _locate(error: BaseException | None) -> str:
    """Name the last place in the package that an error passed."""
    if error is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/lorary/" in frame.filename]
    place = own[-1] if own else frames[-1]
    return f" [{'/'.join(Path(place.filename).parts[-3:])}:{place.lineno} {place.name}]"


class _Watch:
    """Ends what takes too long: by an exception, or if code in C does not listen, by its end."""

    def __enter__(self) -> None:
        self.wall, self.computed, self.queued = time.monotonic(), time.process_time(), _read_queued()
        signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        computed = time.process_time() - self.computed
        # However loaded the machine is: waiting for a processor does not count.
        waited = time.monotonic() - self.wall - computed - (_read_queued() - self.queued)
        if computed > MAX_SECONDS:
            raise TooLong(f"{computed:.1f} s of computing")
        if waited > MAX_SECONDS:
            raise TooLong(f"{waited:.1f} s of waiting")

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _read_queued() -> float:
    """Say for how long this process has waited for a processor, in seconds."""
    # Where the system does not say, all waiting counts.
    with suppress(OSError):
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    return 0.0


def limit_memory() -> None:
    """Let this process map little more than it has."""
    mapped = read_memory("VmSize") + MAX_MAPPED
    resource.setrlimit(resource.RLIMIT_AS, (mapped, mapped))
    faulthandler.enable()


def reset_peak() -> None:
    """Forget the largest memory so far, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def read_memory(what: str) -> int:
    """Give a line of this process's status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(what)
