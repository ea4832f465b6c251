"""The outcome of training experts: the curves, a table, and the next command."""

from pathlib import Path

from jsonargparse import Namespace

from lorary.cli.commands.train.plan import list_known
from lorary.cli.commands.train.report import COLUMNS, NUMERIC, summarize_progress, tabulate_progress
from lorary.cli.commands.train.store import ExpertStore
from lorary.cli.commands.train.wanted import Wanted
from lorary.cli.console import print_next, print_table
from lorary.cli.printing import print_json, print_line
from lorary.cli.repeat import repeat_tasks
from lorary.files import quote, say_count
from lorary.training.curves import plot_curves, save_curves
from lorary.training.train import TrainOutcome


def report_known(options: Namespace, wanted: Wanted) -> None:
    """Say that there is nothing to train."""
    if options.json:
        nothing: dict[str, object] = {"run": None, "seconds": 0.0, "experts": []}
        print_json({"library": options.library, **nothing, "known": list(wanted.known)})
        return
    print_line(
        f"nothing to train: library {quote(options.library)} already has {list_known(wanted)} from the "
        "same data and settings (--fresh trains again)"
    )
    suggest_next(options, wanted)


def report(
    options: Namespace,
    outcome: TrainOutcome,
    store: ExpertStore,
    wanted: Wanted,
    run_folder: Path,
    seconds: float,
) -> None:
    """Save the loss curves in the run's folder, and print the outcome."""
    save_curves(run_folder / "curves.json", outcome.progress)
    plot_curves(run_folder / "curves.png", outcome.progress)
    if options.json:
        experts = [summarize_progress(name, found) for name, found in outcome.progress.items()]
        place = {"library": options.library, "run": str(run_folder), "seconds": round(seconds, 2)}
        print_json({**place, "experts": experts, "known": list(wanted.known)})
        return
    print_table(COLUMNS, tabulate_progress(outcome.progress), NUMERIC)
    print_line(
        f"{say_count(len(store.stored), 'expert')} stored in library {quote(options.library)} after "
        f"{seconds:.0f} s; loss curves: {run_folder / 'curves.png'}"
    )
    suggest_next(options, wanted)


def suggest_next(options: Namespace, wanted: Wanted) -> None:
    """Print the next command."""
    words = [] if options.expert or options.groups else repeat_tasks(options)
    if words:
        device = [] if options.device is None else ["--device", options.device]
        # Experts name their base model; a longer limit in training is needed in evaluation too.
        length = ["--evaluation.max_length", str(options.max_length)] if options.max_length != 512 else []
        print_next("lorary", "eval", options.library, *words, *device, *length)
    else:
        print_next("lorary", "library", "show", options.library, next(iter(wanted.examples)))
