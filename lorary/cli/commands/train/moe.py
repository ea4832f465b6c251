"""Train a mixture-of-experts router over the experts of a library."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

from jsonargparse import Namespace

from lorary.cli.base_model import load_training_base
from lorary.cli.commands.train.card_options import refuse_card_options
from lorary.cli.commands.train.groups import name_members
from lorary.cli.commands.train.inputs import describe_prompts, prepare_all, read_training_options
from lorary.cli.commands.train.moe_plan import describe_moe_plan
from lorary.cli.commands.train.report import COLUMNS, NUMERIC, summarize_progress, tabulate_progress
from lorary.cli.commands.train.run_place import name_run_folder
from lorary.cli.commands.train.trackers import check_trackers, report_curves, tell_all
from lorary.cli.console import print_next, print_table
from lorary.cli.faults import Faults
from lorary.cli.filled_library import open_filled_library
from lorary.cli.printing import print_facts, print_json, print_line
from lorary.cli.repeat import repeat_tasks
from lorary.cli.tasks import read_tasks
from lorary.cli.training_bar import show_training
from lorary.errors import LibraryError
from lorary.evaluation.run_header import describe_run
from lorary.experts import Expert, ExpertCard, check_name, write_expert_files
from lorary.experts.weights_file import WEIGHTS_FILE
from lorary.facts.moe import store_router
from lorary.facts.moe_start import find_start_rows
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.library.general import take_general
from lorary.library.view import LibraryView
from lorary.models import BaseModel
from lorary.models.check_base import check_base
from lorary.models.fit_paths import fit_paths
from lorary.models.parts.changed import keep_low_rank_on
from lorary.training import MoeConfig, TrainConfig, train_moe
from lorary.training.curves import plot_curves, save_curves
from lorary.training.folder.run_folder import count_finished
from lorary.training.moe_training import MoeOutcome
from lorary.training.objectives.moe_usage import MoeUsage

DEFAULT_NAME = "moe"


def run(options: Namespace) -> int:
    """Read the inputs and print the plan; then train, store and report."""
    config = read_moe_options(options)
    library = open_filled_library(options.library)
    name = options.expert or DEFAULT_NAME
    tasks = read_tasks(options)
    base = load_training_base(options)
    chosen = choose_experts(library, base)
    config.make_form(list(chosen))
    run_folder = options.run or name_run_folder(options.library, options.expert, options.method)
    is_new = options.fresh or count_finished(run_folder, [name]) != 1
    if config.train_experts and not options.replace and is_new:
        _check_free(library, [f"{name}-{expert}" for expert in chosen])
    members = {task: (task,) for task in tasks}
    examples = name_members(prepare_all(options, base, tasks, config.train), members)
    read = dict(chosen.items())
    fitted = fit_paths(base.model, read)
    is_renamed = any(fitted[name] is not expert for name, expert in read.items())
    experts: Mapping[str, Expert] = fitted if is_renamed else chosen
    plan = list(describe_moe_plan(base, experts, examples, config, name, run_folder, options.fresh))
    there = f"{options.library} (has {say_count(len(library), 'expert')})"
    print_facts([("library", there), *plan], stderr=options.json)
    library.require_writable()
    begun = time.monotonic()
    general = take_general(library, list(experts))
    start = find_start_rows(base, experts, examples, config.warm_start, general)
    try:
        with (
            show_training("training the router") if is_new else nullcontext() as show,
            report_curves(options.report_to, run_folder, asdict(config)) as tell,
        ):
            outcome = train_moe(
                base,
                experts,
                examples,
                config,
                run_folder,
                start=start,
                name=name,
                fresh=options.fresh,
                general=general,
                on_progress=tell_all(show, tell),
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"the last saved state is in {quote(str(run_folder))}: run the same command again, without "
            "--fresh, to resume"
        ) from None
    if config.train_experts:
        if not options.replace:
            hashes = library.weight_hashes()
            known = {own for own in outcome.experts if own in hashes}
            _check_free(library, [own for own in known if _differs(outcome.experts[own], hashes[own])])
        _store_experts(library, outcome.experts, describe_prompts(options))
    store_router(library, outcome.router, name, base.fingerprint)
    report(options, outcome, name, run_folder, time.monotonic() - begun)
    return 0


def check(options: Namespace) -> None:
    """Check all options, see ``lorary.cli.command``."""
    read_moe_options(options)


def read_moe_options(options: Namespace) -> MoeConfig:
    """Build the configuration.

    Raises:
        ValueError: with all settings that are invalid or do not suit the method.
    """
    faults = Faults()
    train = faults.keep(lambda: read_training_options(options))
    config = faults.keep(lambda: MoeConfig(train=train or TrainConfig(max_steps=1), **vars(options.moe)))
    if options.expert is not None:
        faults.keep(lambda: check_name(options.expert))
    if options.groups is not None:
        faults.add("--groups trains one expert per group, found --method moe: groups are --moe.groups")
    faults.keep(lambda: refuse_card_options(options))
    faults.keep(lambda: check_trackers(options.report_to))
    faults.raise_all()
    assert config is not None
    return config


def choose_experts(library: Library, base: BaseModel) -> LibraryView:
    """Choose the experts to route to: those of the role, except those that belong to a trained mixture.

    Experts with more than low-rank factors are left out, with one warning.

    Raises:
        LibraryError: if there are none.
        IncompatibleExpert: if one is for another base model.
    """
    view = library.routed()
    own = [entry.name for entry in view.entries() if not _is_of_mixture(entry.card)]
    if not own:
        raise LibraryError(
            f"library {quote(library.url)} has no experts to route to: train some experts first"
        )
    kept = keep_low_rank_on(base.model, view, own, "a trained router")
    check_base(base, *(library[name] for name in kept))
    return LibraryView(library, kept, view.left_out)


def _is_of_mixture(card: ExpertCard) -> bool:
    training = card.provenance.get("training")
    return isinstance(training, Mapping) and training.get("method") == "moe"


def _check_free(library: Library, wanted: Sequence[str]) -> None:
    taken = sorted(own for own in wanted if own in library)
    if taken:
        raise LibraryError(
            f"library {quote(library.url)} already has {quote(taken[:3])}: add --replace to replace them, or "
            "name the router with --expert"
        )


def _differs(expert: Expert, digest: str) -> bool:
    """Return whether an expert's weights differ from those of a digest in the library."""
    return sha256(write_expert_files(expert)[WEIGHTS_FILE]).hexdigest() != digest


def _store_experts(library: Library, experts: Mapping[str, Expert], prompts: Mapping[str, object]) -> None:
    run_header = describe_run(seeds={}, settings={})
    for name, expert in experts.items():
        provenance = {
            **expert.card.provenance,
            "prompts": dict(prompts),
            "versions": run_header["versions"],
            "date": run_header["date"],
        }
        library[name] = replace(expert, card=replace(expert.card, provenance=provenance))


def report(options: Namespace, outcome: MoeOutcome, name: str, run_folder: Path, seconds: float) -> None:
    """Save the loss curves in the run's folder, and print the outcome with the use of the experts."""
    progress = {name: outcome.progress}
    save_curves(run_folder / "curves.json", progress)
    plot_curves(run_folder / "curves.png", progress)
    if options.json:
        summary = summarize_progress(name, outcome.progress)
        place = {"library": options.library, "run": str(run_folder), "seconds": round(seconds, 2)}
        form = outcome.router.form
        print_json(
            {
                **place,
                **{key: value for key, value in summary.items() if key != "expert"},
                "router": name,
                "experts": list(outcome.experts),
                "shared": list(form.shared),
                "usage": outcome.usage.to_json(),
            }
        )
        return
    print_table(COLUMNS, tabulate_progress(progress), NUMERIC)
    print_table(USAGE_COLUMNS, tabulate_usage(outcome.usage), USAGE_COLUMNS[1:])
    trained = (
        f"{say_count(len(outcome.experts), 'expert')} and the router"
        if options.moe.train_experts
        else ("the router")
    )
    print_line(
        f"{trained} stored in library {quote(options.library)} as {quote(name)} after {seconds:.0f} s; loss "
        f"curves: {run_folder / 'curves.png'}"
    )
    words = repeat_tasks(options)
    if words:
        print_next("lorary", "eval", options.library, *words, "--routes", "base,uniform,arrow,moe")
    else:
        print_next("lorary", "generate", options.library, "PROMPT", "--router", "moe", "--show-experts")


USAGE_COLUMNS = ("expert", "share of choices", "least at a layer", "most at a layer")


def tabulate_usage(usage: MoeUsage) -> list[tuple[str, ...]]:
    """Make a table row of ``USAGE_COLUMNS`` for each routed expert."""
    rows: list[tuple[str, ...]] = []
    for name, share in usage.average().items():
        own = [shares[name] for shares in usage.shares.values()]
        rows.append((name, f"{share:.1%}", f"{min(own):.1%}", f"{max(own):.1%}"))
    return rows
