"""Sharing inputs among readers and processes, and the report."""

import argparse
import json
import os
import sys
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from tests.hostile.reader import Reader
from tests.hostile.readers import READERS
from tests.hostile.runner import Prepared, prepare, try_all
from tests.hostile.surroundings import Surroundings
from tests.hostile.trial import FINDING, Outcome, Trial

# Of findings that say the same of one reader.
SHOWN = 3


def choose_readers(names: list[str] | None) -> list[Reader]:
    """Choose readers by name; all if none is given."""
    return [READERS[name] for name in names] if names else list(READERS.values())


def share_inputs(prepared: Mapping[str, Prepared], total: int | None) -> dict[str, int]:
    """Say how many inputs each reader gets: each kind once, and beyond that fewer where one takes long."""
    once = {name: len(found.choices.kinds) for name, found in prepared.items()}
    left = max(0, (total or 0) - sum(once.values()))
    speeds = {name: 1 / found.reader.cost for name, found in prepared.items()}
    whole = sum(speeds.values())
    return {name: count + int(left * speeds[name] / whole) for name, count in once.items()}


def try_readers(options: argparse.Namespace, root: Path) -> int:
    """Try them all, and report."""
    warnings.simplefilter("ignore")
    around = Surroundings(root / "first", root / "bulk")
    prepared, outcomes = prepare_all(options, root, around)
    counts = share_inputs(prepared, options.inputs)
    children = [_fork(options, root, prepared, counts, part) for part in range(1, options.workers)]
    outcomes |= _try_part(options, root, prepared, counts, 0)
    for child, path in children:
        os.waitpid(child, 0)
        for name, records in json.loads(path.read_text()).items():
            outcomes[name] += [Outcome(**record) for record in records]
    if options.json:
        options.json.write_text(json.dumps(_record(outcomes)))
    return report(outcomes)


def prepare_all(
    options: argparse.Namespace, root: Path, around: Surroundings
) -> tuple[dict[str, Prepared], dict[str, list[Outcome]]]:
    """Make every good input; one that is not accepted is a finding."""
    prepared, outcomes = {}, {}
    for reader in choose_readers(options.reader):
        try:
            prepared[reader.name] = prepare(reader, root / "good", around)
        except Exception as error:
            traceback.print_exc()
            detail = f"{type(error).__name__}: {error}"
            outcomes[reader.name] = [
                Outcome(-1, "good", "the good input", FINDING, "good input refused", detail)
            ]
            print(describe(reader.name, outcomes[reader.name][0], options.seed), flush=True)
    return prepared, outcomes


def _fork(
    options: argparse.Namespace, root: Path, prepared: dict[str, Prepared], counts: dict[str, int], part: int
) -> tuple[int, Path]:
    path = root / f"outcomes-{part}.json"
    child = os.fork()
    if child == 0:
        try:
            path.write_text(json.dumps(_record(_try_part(options, root, prepared, counts, part))))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    return child, path


def _try_part(
    options: argparse.Namespace, root: Path, prepared: dict[str, Prepared], counts: dict[str, int], part: int
) -> dict[str, list[Outcome]]:
    """Try every ``workers``-th input of every reader."""
    around = Surroundings(root / f"world-{part}", root / "bulk")
    found: dict[str, list[Outcome]] = {}
    for name, one in prepared.items():
        begun = time.monotonic()
        numbers = range(part, counts[name], options.workers)
        found[name] = []
        alike: Counter[tuple[str, str]] = Counter()
        for outcome in try_all(one, numbers, around, options.seed):
            found[name].append(outcome)
            if outcome.verdict == FINDING:
                alike[outcome.fault, outcome.detail] += 1
                if alike[outcome.fault, outcome.detail] <= SHOWN:
                    print(describe(name, outcome, options.seed), flush=True)
        verdicts = Counter(outcome.verdict for outcome in found[name])
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
        print(f"{name}: {len(found[name])} inputs in {time.monotonic() - begun:.0f} s: {told}", flush=True)
    return found


def _record(outcomes: dict[str, list[Outcome]]) -> dict[str, list[dict[str, object]]]:
    return {name: [asdict(outcome) for outcome in found] for name, found in outcomes.items()}


def report(outcomes: Mapping[str, list[Outcome]]) -> int:
    """Print counts by reader and kind and a last line; 1 if there are findings."""
    for name, found in outcomes.items():
        print(f"\n{name} ({READERS[name].room})")
        kinds: dict[str, Counter[str]] = defaultdict(Counter)
        for outcome in found:
            kinds[outcome.kind][outcome.verdict] += 1
        for kind, verdicts in sorted(kinds.items()):
            told = "  ".join(f"{count:5} {verdict}" for verdict, count in sorted(verdicts.items()))
            print(f"  {kind:28}{sum(verdicts.values()):6} tried: {told}")
    print()
    everyone = [outcome for found in outcomes.values() for outcome in found]
    faults = Counter(outcome.fault for outcome in everyone if outcome.verdict == FINDING)
    told = ", ".join(f"{count} {fault}" for fault, count in faults.most_common()) or "none"
    print(f"\n{len(everyone):,} hostile inputs, {sum(faults.values()):,} findings: {told}")
    return 1 if faults else 0


def describe(name: str, outcome: Outcome, seed: int) -> str:
    """Write a finding in two lines, the second repeats it."""
    shown = f"{outcome.fault}: {outcome.detail}".encode("unicode_escape").decode()
    return (
        f"{name}, {outcome.done}: {shown}\n"
        f"    python -m tests.hostile --reader {name} --seed {seed} --only {outcome.number}"
    )


def repeat_one(options: argparse.Namespace, root: Path) -> int:
    """Repeat one input in this process, with a traceback of whatever is raised."""
    [reader] = choose_readers(options.reader)
    around = Surroundings(root / "world-0", root / "bulk")
    prepared = prepare(reader, root / "good", around)
    trial = Trial(prepared.choices, prepared.expected, around, options.seed)
    choice, inputs = prepared.choices.make(options.only, options.seed, around)
    print(f"{choice}; is sealed: {prepared.choices.is_sealed(choice)}", file=sys.stderr)
    try:
        print(f"gave {reader.read(inputs)!r:.2000}", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    print(f"damage: {around.find_damage()}", file=sys.stderr)
    print(asdict(trial.run(options.only)), file=sys.stderr)
    return 0
