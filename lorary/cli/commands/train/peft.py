"""Train experts of other kinds with PEFT's layers, one after the other, each in its own run folder."""

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from jsonargparse import Namespace
from peft import PeftConfig

from lorary.cli.base_model import load_training_base
from lorary.cli.commands.train.groups import choose_members, name_members, pool_tasks
from lorary.cli.commands.train.inputs import describe_prompts, prepare_all, read_training_options
from lorary.cli.commands.train.plan import describe_base, describe_examples, describe_steps, list_names
from lorary.cli.commands.train.report import COLUMNS, NUMERIC, summarize_progress, tabulate_progress
from lorary.cli.commands.train.run_place import name_run_folder
from lorary.cli.commands.train.store import ExpertStore
from lorary.cli.commands.train.trackers import check_trackers, report_curves, tell_all
from lorary.cli.console import print_next, print_table
from lorary.cli.faults import Faults
from lorary.cli.printing import print_facts, print_json, print_line
from lorary.cli.repeat import repeat_tasks
from lorary.cli.tasks import read_tasks
from lorary.cli.training_bar import show_training
from lorary.errors import LibraryError
from lorary.experts import ExpertCard
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.models import BaseModel
from lorary.training import TrainConfig, TrainingExamples, train_with_peft
from lorary.training.curves import plot_curves, save_curves
from lorary.training.folder.run_folder import count_finished
from lorary.training.peft_settings import describe_peft_config, make_peft_config, read_peft_config
from lorary.training.progress import UnitProgress
from lorary.training.same_training import find_training_fault


def run(options: Namespace) -> int:
    """Read the inputs and print the plan; then train what the library does not have yet, store and report."""
    config = read_options(options)
    tasks = read_tasks(options)
    members = choose_members(list(tasks), options.expert, options.groups)
    base = load_training_base(options)
    peft_config = find_peft_config(options, base, config)
    examples = name_members(prepare_all(options, base, pool_tasks(tasks, members), config), members)
    # Created only after all checks, so that bad input leaves no new library behind.
    library = Library.open(options.library, create=True)
    faults = find_faults(library, examples, base, config, peft_config)
    known = [] if options.fresh else [name for name, fault in faults.items() if fault is None]
    if not options.replace:
        require_free(library, {name: fault for name, fault in faults.items() if fault is not None})
    missing = {name: found for name, found in examples.items() if name not in known}
    place = options.run or name_run_folder(options.library, None, f"peft-{name_kind(options, peft_config)}")
    print_facts(
        [
            ("library", f"{options.library} (has {say_count(len(library), 'expert')})"),
            *(
                [("known", f"{list_names(known)}: already in the library, from the same training")]
                if known
                else []
            ),
            ("base", describe_base(base)),
            ("examples", describe_examples(missing, config)),
            ("experts", f"{len(missing)}, one after the other, by PEFT: {name_kind(options, peft_config)}"),
            ("steps", describe_steps(missing, config)),
            ("state", f"a folder for each expert in {place}"),
        ],
        stderr=options.json,
    )
    library.require_writable()
    begun = time.monotonic()
    store = ExpertStore(
        library, tuple(missing), describe_prompts(options), tags=options.tags, notes=options.notes
    )
    progress = train_all(options, base, missing, config, peft_config, place, store)
    report(options, progress, known, place, time.monotonic() - begun)
    return 0


def check(options: Namespace) -> None:
    """Check all options, see ``lorary.cli.command``."""
    read_options(options)


def read_options(options: Namespace) -> TrainConfig:
    """Build the configuration, and check what does not need the base model.

    Raises:
        ValueError: with all options that are invalid or do not suit the method.
    """
    faults = Faults()
    config = faults.keep(lambda: read_training_options(options))
    if (options.kind is None) == (options.peft_config is None):
        faults.add("--method peft needs --kind or --peft-config, and not both: see lorary train --help")
    if config is not None and config.dropout:
        faults.add("--training.dropout is for --method experts: PEFT's configuration has its own dropout")
    faults.keep(lambda: check_trackers(options.report_to))
    faults.raise_all()
    assert config is not None
    return config


def find_peft_config(options: Namespace, base: BaseModel, config: TrainConfig) -> PeftConfig:
    """Make PEFT's configuration of ``--kind``, or read that of ``--peft-config``."""
    if options.kind is not None:
        return make_peft_config(options.kind, base, config)
    try:
        return read_peft_config(options.peft_config, base)
    except FileNotFoundError as error:
        raise ValueError(f"file {quote(options.peft_config)} does not exist: check --peft-config") from error


def name_kind(options: Namespace, peft_config: PeftConfig) -> str:
    """Return the kind's name; of a file PEFT's own, such as ``lora``."""
    return options.kind or str(getattr(peft_config.peft_type, "value", peft_config.peft_type)).lower()


def find_faults(
    library: Library,
    examples: Mapping[str, TrainingExamples],
    base: BaseModel,
    config: TrainConfig,
    peft_config: PeftConfig,
) -> dict[str, str | None]:
    """Compare the library's experts of the wanted names with this training.

    Returns:
        Name -> what differs, or None for an expert of the same training; without names that are free.
    """
    cards = {entry.name: entry.card for entry in library.entries()}
    described = describe_peft_config(peft_config)

    def compare(card: ExpertCard, found: TrainingExamples) -> str | None:
        if card.provenance.get("peft") != described:
            return "it is of another kind, or has other settings of PEFT"
        return find_training_fault(
            card, base_fingerprint=base.fingerprint, data_digest=found.digest, config=config
        )

    return {name: compare(cards[name], found) for name, found in examples.items() if name in cards}


def require_free(library: Library, faults: Mapping[str, str]) -> None:
    """Refuse names of experts of other trainings.

    Raises:
        LibraryError: with the first of them.
    """
    for name, fault in faults.items():
        raise LibraryError(
            f"library {quote(library.url)} already has {name!r} ({fault}): add --replace to replace it, or "
            "train under another name, as --tasks NAME=PLACE or --expert NAME"
        )


def train_all(
    options: Namespace,
    base: BaseModel,
    examples: Mapping[str, TrainingExamples],
    config: TrainConfig,
    peft_config: PeftConfig,
    place: Path,
    store: ExpertStore,
) -> dict[str, UnitProgress]:
    """Train and store one expert after the other, each with a progress bar."""
    progress: dict[str, UnitProgress] = {}
    for name, found in examples.items():
        is_new = options.fresh or count_finished(place / name, [name]) != 1
        try:
            with (
                show_training(f"training {name}") if is_new else nullcontext() as show,
                report_curves(options.report_to, place / name, asdict(config)) as tell,
            ):
                outcome = train_with_peft(
                    base,
                    {name: found},
                    peft_config,
                    config,
                    place / name,
                    fresh=options.fresh,
                    on_progress=tell_all(show, tell),
                )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"{len(store.stored)} of {say_count(len(examples), 'expert')} finished and stored; the last "
                f"saved state of {name} is in {quote(str(place / name))}: run the same command again, "
                "without --fresh, to resume"
            ) from None
        store.store(outcome.experts)
        progress |= outcome.progress
    return progress


def report(
    options: Namespace,
    progress: Mapping[str, UnitProgress],
    known: list[str],
    place: Path,
    seconds: float,
) -> None:
    """Save the loss curves in the run's folder, and print the outcome."""
    if progress:
        save_curves(place / "curves.json", progress)
        plot_curves(place / "curves.png", progress)
    if options.json:
        experts = [summarize_progress(name, found) for name, found in progress.items()]
        found = {"library": options.library, "run": str(place), "seconds": round(seconds, 2)}
        print_json({**found, "experts": experts, "known": known})
        return
    if progress:
        print_table(COLUMNS, tabulate_progress(progress), NUMERIC)
        print_line(
            f"{say_count(len(progress), 'expert')} stored in library {quote(options.library)} after "
            f"{seconds:.0f} s; loss curves: {place / 'curves.png'}"
        )
    else:
        print_line(f"nothing to train: library {quote(options.library)} already has all experts")
    names = [*progress, *known]
    words = [] if options.expert or options.groups else repeat_tasks(options)
    if words:
        routes = ",".join(["base", *(f"expert:{name}" for name in names[:3])])
        print_next("lorary", "eval", options.library, *words, "--routes", routes)
    else:
        print_next("lorary", "library", "show", options.library, names[0])
