"""The saved outcome of the quickstart, for the next call; reading it needs neither the model nor PyTorch."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lorary.cli.commands.quickstart.plan import QuickstartPlan
from lorary.errors import FormatError
from lorary.evaluation import Result
from lorary.files import hash_file, parse_json_object, quote, read_at_most, write_whole
from lorary.reports.routed_sample import RoutedSample, RoutedToken

RECORD, RESULTS = "outcome.json", "results.json"
ADVICE = "delete it to evaluate again, or start over with --fresh"


@dataclass(frozen=True)
class Outcome:
    """The outcome of the quickstart."""

    result: Result
    """The comparison of the routes."""
    samples: tuple[RoutedSample, ...]
    """Answers of the routed model, with the experts of each token."""
    seconds: float
    """Time taken."""


def load_outcome(plan: QuickstartPlan, out: Path) -> Outcome | None:
    """Read the saved outcome of a plan; None if there is none, or if its results are of another plan.

    Raises:
        FormatError: if a file is damaged.
    """
    try:
        saved = parse_json_object(read_at_most(out / RECORD), str(out / RECORD), ADVICE)
        digest = hash_file(out / RESULTS)
    except FileNotFoundError:
        return None
    if saved.get("plan") != json.loads(json.dumps(asdict(plan))):
        return None
    # Earlier versions wrote no hash. A killed run may have left the results of another plan.
    if saved.get("results_sha256", digest) != digest:
        return None
    with _naming(out / RECORD):
        samples = tuple(_parse_sample(sample, plan) for sample in _expect(list, saved["samples"]))
        seconds = _parse_number(saved["seconds"])
    return Outcome(Result.from_json(out / RESULTS), samples, seconds)


def save_outcome(plan: QuickstartPlan, outcome: Outcome, out: Path) -> None:
    """Save the outcome for the next call."""
    outcome.result.to_json(out / RESULTS)
    record = {
        "plan": asdict(plan),
        "seconds": outcome.seconds,
        "samples": [asdict(sample) for sample in outcome.samples],
        "results_sha256": hash_file(out / RESULTS),
    }
    write_whole(out / RECORD, json.dumps(record, ensure_ascii=True, allow_nan=False))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError) as error:
        raise FormatError(f"{quote(str(path))} is damaged ({error}): {ADVICE}") from error


def _parse_sample(sample: Any, plan: QuickstartPlan) -> RoutedSample:
    found = _expect(dict, sample)
    prompt, answer = (
        tuple(_parse_token(token, plan) for token in _expect(list, found[part]))
        for part in ("prompt", "answer")
    )
    # Earlier versions kept no right answer.
    is_right = found.get("is_right")
    right = _expect(str, found.get("right", ""))
    return RoutedSample(
        _expect(str, found["task"]),
        prompt,
        answer,
        right,
        None if is_right is None else _expect(bool, is_right),
    )


def _parse_token(token: Any, plan: QuickstartPlan) -> RoutedToken:
    found = _expect(dict, token)
    experts = []
    for pair in _expect(list, found["experts"]):
        if not isinstance(pair, list) or len(pair) != 2 or pair[0] not in plan.tasks:
            raise ValueError(f"an expert of the plan and its share are expected, found {quote(pair, 80)}")
        experts.append((str(pair[0]), _parse_number(pair[1])))
    if not experts:
        raise ValueError(f"token {quote(found['text'], 60)} must have experts, found none")
    return RoutedToken(_expect(str, found["text"]), tuple(experts))


def _parse_number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"a number is expected, found {quote(value, 60)}")
    return float(value)


def _expect(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"a {kind.__name__} is expected, found {quote(value, 60)}")
    return value
