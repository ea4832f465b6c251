"""Compute the missing prototypes of each base model's experts, and print all gains."""

import time
from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace

from lorary.cli.console import print_next, print_table, say_status, show_status
from lorary.cli.filled_library import group_by_base, open_routed_library
from lorary.cli.printing import print_json, print_line
from lorary.cli.repeat import repeat_prompts
from lorary.experts.parts.leaving_out import keep_low_rank
from lorary.facts.prototypes import LayerPrototypes, find_prototypes
from lorary.files import say_count
from lorary.library.view import LibraryView

COLUMNS = ("expert", "layers", "mean gain", "largest gains")
NUM_LARGEST = 3


def run(options: Namespace) -> int:
    """Compute the missing prototypes of each base model's experts, and print all gains."""
    library = open_routed_library(options)
    named = [name for names in group_by_base(library, options.base).values() for name in names]
    kept = keep_low_rank(library, named, "computing prototypes")
    groups = group_by_base(LibraryView(library.library, kept, {}), options.base)
    num_new, seconds, gains = compute_gains(library, groups)
    counts = {"experts": len(gains), "there": len(gains) - num_new, "new": num_new}
    if options.json:
        print_json({**counts, "seconds": round(seconds, 2), "gains": gains})
        return 0
    print_table(COLUMNS, [describe_gains(name, found) for name, found in gains.items()], COLUMNS[1:3])
    print_line(
        f"prototypes of {say_count(len(gains), 'expert')}: {counts['there']:,} loaded, {num_new:,} computed, "
        f"{seconds:.1f} s; the gain is the largest norm of b a x over unit inputs x of a layer"
    )
    entries = library.entries()
    if len({entry.base_model for entry in entries}) == 1:
        words = [*repeat_prompts(entries), "--show-experts"]
        print_next("lorary", "generate", options.library, "PROMPT", *words)
    else:
        print_next("lorary", "library", "ls", options.library)
    return 0


def compute_gains(
    library: LibraryView, groups: dict[str, list[str]]
) -> tuple[int, float, dict[str, dict[str, float]]]:
    """Load all prototypes, and compute the missing ones.

    Returns:
        The number of experts with new prototypes, the seconds taken, and expert -> layer -> gain.
    """
    num_new, gains, begun = 0, {}, time.monotonic()
    with show_status("loading prototypes") as status:

        def count(names: Sequence[str]) -> None:
            nonlocal num_new
            num_new += len(names)
            status.update(say_status(f"computed the prototypes of {say_count(num_new, 'expert')}"))

        for names in groups.values():
            gains.update(spread_gains(names, find_prototypes(library, names, on_computed=count)))
    return num_new, time.monotonic() - begun, {name: gains[name] for name in sorted(gains)}


def spread_gains(names: Sequence[str], prototypes: dict[str, LayerPrototypes]) -> dict[str, dict[str, float]]:
    """Turn layers' gains ``[E]`` into expert -> layer -> gain, without unchanged layers."""
    rows = {path: gains.tolist() for path, (_, gains) in prototypes.items()}
    return {
        name: {path: row[index] for path, row in rows.items() if row[index] > 0}
        for index, name in enumerate(names)
    }


def describe_gains(name: str, gains: dict[str, float]) -> tuple[str, str, str, str]:
    """Describe one expert's gains, a text per column."""
    mean = sum(gains.values()) / max(1, len(gains))
    largest: list[tuple[str, Any]] = sorted(gains.items(), key=lambda item: -item[1])[:NUM_LARGEST]
    return (
        name,
        f"{len(gains):,}",
        f"{mean:.3g}",
        ", ".join(f"{path} {gain:.3g}" for path, gain in largest),
    )
