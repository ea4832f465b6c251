"""``lorary eval --compare A.json B.json``: two results on their common examples."""

from dataclasses import asdict
from pathlib import Path

from jsonargparse import Namespace

from lorary.cli.grids import print_grid
from lorary.cli.printing import print_json, print_line
from lorary.evaluation import Result
from lorary.evaluation.compare_results import PairedResults, pair_results
from lorary.files import quote, say_count
from lorary.reports import difference_grid


def compare_files(options: Namespace) -> int:
    """Compare two result files, and print a table of differences for each metric.

    Raises:
        ValueError: if the results cannot be compared, or an option is for measuring.
        FormatError: if a file is not a result.
    """
    others = [name for name in ("library", "tasks", "harness", "out") if options[name] is not None]
    if others:
        given = ", ".join(map(_say_option, others))
        raise ValueError(f"--compare reads two results and measures nothing: leave out {given}")
    first, second = options.compare
    paired = pair_results(Result.from_json(first), Result.from_json(second), name_files(first, second))
    if options.json:
        print_json(
            {
                "left_out": paired.num_left_out,
                "changed": {name: list(values) for name, values in paired.changed.items()},
                "differences": [
                    {**asdict(each), "metric": metric}
                    for metric in paired.result.metrics
                    for each in paired.differences(metric)
                ],
            }
        )
    else:
        print_paired(paired)
    return 0


def name_files(first: Path, second: Path) -> tuple[str, str]:
    """Name two files by their shortest distinct form: names, otherwise folders, otherwise whole paths."""
    for part in (lambda path: path.name, lambda path: path.parent.name, str):
        names = part(first), part(second)
        if names[0] != names[1]:
            return names
    return "A", "B"


def print_paired(paired: PairedResults) -> None:
    """Print the differences by metric, the settings that differ, and the number of examples left out."""
    for metric in paired.result.metrics:
        print_grid(difference_grid(paired.differences(metric)))
    for name, (one, two) in paired.changed.items():
        print_line(f"{name} differs: {quote(one, 60)} and {quote(two, 60)}")
    if paired.num_left_out:
        print_line(
            f"{say_count(paired.num_left_out, 'value')} without a counterpart in the other result left out"
        )


def _say_option(name: str) -> str:
    return "LIBRARY" if name == "library" else f"--{name}"
