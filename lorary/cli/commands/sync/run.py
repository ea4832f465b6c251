"""Copy the experts of a lock file, compare the rest, and print what differs."""

import json
from collections.abc import Iterator
from pathlib import Path

from jsonargparse import Namespace

from lorary.cli.bars import show_count
from lorary.cli.console import print_next
from lorary.cli.grids import print_grid
from lorary.cli.printing import print_json, print_line
from lorary.errors import BaseModelError
from lorary.experts.base_fingerprint import Fingerprint, is_same_print
from lorary.files import escape, say_count
from lorary.library.lock import Difference, Lock, LockedRouter, Synced, read_lock, sync_library
from lorary.models.embedded import NAME
from lorary.models.extraction.weights import open_weights
from lorary.reports.tables import Cell, Grid, Row
from lorary.routing import ROUTERS


def run(options: Namespace) -> int:
    """Check the options, copy, compare, and print; the exit code is 1 if something differs."""
    lock = read_lock(options.lock)
    with show_count(f"synchronising {options.out}") as show:
        synced = sync_library(lock, options.out, options.sources, replace=options.replace, on_progress=show)
    found = [*synced.differences, *compare_bases(lock)]
    if options.json:
        print_json(describe(synced, found, options.out))
    else:
        report(synced, found, options.out, lock.router)
    return 1 if found else 0


def compare_bases(lock: Lock) -> Iterator[Difference]:
    """Compare the fingerprints of base models that are on this machine with the locked ones."""
    for name, known in lock.bases.items():
        wanted = Fingerprint.parse(known["fingerprint"] or "").full
        if wanted is None or not wanted or not (name == NAME or Path(name).is_dir()):
            continue
        try:
            own = open_weights(name).fingerprint
        except BaseModelError as error:
            yield Difference(f"base model {name}", wanted, escape(str(error), longest=120))
            continue
        if not is_same_print(own, wanted):
            yield Difference(f"base model {name}", wanted, own)


def describe(synced: Synced, found: list[Difference], place: str) -> dict[str, object]:
    """Describe what was done and what differs in JSON values."""
    return {
        "library": place,
        "copied": list(synced.copied),
        "unchanged": list(synced.unchanged),
        "differences": [difference._asdict() for difference in found],
        "versions": [difference._asdict() for difference in synced.versions],
    }


def report(synced: Synced, found: list[Difference], place: str, router: LockedRouter | None) -> None:
    """Print what was done, a table of differences, other versions, and the command for the locked router."""
    done = f"{say_count(len(synced.copied), 'expert')} copied, {len(synced.unchanged)} already there"
    if found:
        rows = tuple(
            Row(label=each.what, cells=(Cell(text=each.locked), Cell(text=each.found))) for each in found
        )
        print_grid(Grid(title="Differences from the lock file", columns=("locked", "found"), rows=rows))
        print_line(f"{done}; {say_count(len(found), 'difference')}")
    else:
        print_line(f"library {place} equals the lock file, bit for bit: {done}")
    if synced.versions:
        told = ", ".join(f"{each.what} {each.found} (locked: {each.locked})" for each in synced.versions)
        print_line(f"note: other versions may give other results: {told}", stderr=True)
    if not found:
        print_next("lorary", "generate", place, "PROMPT", *write_router(router))


def write_router(router: LockedRouter | None) -> list[str]:
    """Write the words of a locked router, with its options that differ from their defaults."""
    if router is None:
        return ["--router", "none"]
    default = vars(ROUTERS[router.name].config()) if router.name in ROUTERS else {}
    words = ["--router", router.name]
    for name, value in router.options.items():
        if name not in default or default[name] != value:
            words += [f"--{router.name}.{name}", value if isinstance(value, str) else json.dumps(value)]
    return words if router.combine == "outputs" else [*words, "--combine", router.combine]
