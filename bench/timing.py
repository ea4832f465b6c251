"""Timing several sides of a comparison in turns, so that a slow moment of the machine hits all of them."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch


@dataclass(frozen=True)
class Times:
    """Seconds that one side took, one per round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.seconds)

    def per(self, count: float) -> "Times":
        """Divide by a number of things, such as steps."""
        return Times(tuple(value / count for value in self.seconds))


@dataclass(frozen=True)
class Spread:
    """A value with the smallest and the largest of single rounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Args:
        run: what is timed; takes what ``prepare`` returned, or nothing without it.
        prepare: done before each round, not timed.
    """

    run: Callable[..., object]
    prepare: Callable[[], Any] | None = None

    def time(self) -> float:
        """Run once; returns the seconds it took."""
        arguments: tuple[Any, ...] = ()
        if self.prepare is not None:
            arguments = (self.prepare(),)
            gc.collect()
        wait_for_device()
        start = time.perf_counter()
        result = self.run(*arguments)
        wait_for_device()
        seconds = time.perf_counter() - start
        del result  # only now: freeing it is not timed
        return seconds


def wait_for_device() -> None:
    """Wait for the work that was started on a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def interleave(sides: Mapping[str, Side], repeats: int, warmup: int = 1) -> dict[str, Times]:
    """Time all sides in turns, A B A B ….

    Args:
        sides: name -> side.
        repeats: timed rounds.
        warmup: rounds before them that do not count.

    Returns:
        Name -> times; the rounds of two sides belong together.
    """
    for _ in range(warmup):
        for side in sides.values():
            side.time()
    rounds = []
    for _ in range(repeats):
        gc.collect()
        rounds.append({name: side.time() for name, side in sides.items()})
    return {name: Times(tuple(one[name] for one in rounds)) for name in sides}


def spread_times(times: Times, unit: float = 1.0) -> Spread:
    """Return the median time with its extremes, in a unit such as ``1e-3`` seconds."""
    return Spread(times.median / unit, min(times.seconds) / unit, max(times.seconds) / unit)


def ratio(times: Times, to: Times) -> Spread:
    """Compare two sides: the ratio of the medians, with the extremes of the rounds' own ratios."""
    single = [one / other for one, other in zip(times.seconds, to.seconds, strict=True)]
    return Spread(times.median / to.median, min(single), max(single))


def rate(count: float, times: Times) -> Spread:
    """Return the number of things per second, from the median time, with the extremes."""
    return Spread(count / times.median, count / max(times.seconds), count / min(times.seconds))
