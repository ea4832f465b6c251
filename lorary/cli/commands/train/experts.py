"""Read the tasks and print the plan; then train, store and report."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict

from jsonargparse import Namespace

from lorary.cli.base_model import load_training_base
from lorary.cli.commands.train.continued import describe_other_prompts, load_starts, read_continued
from lorary.cli.commands.train.general import (
    GeneralPlan,
    find_known_general,
    list_standing,
    plan_general,
    refuse_replacing,
    refuse_taken,
)
from lorary.cli.commands.train.groups import choose_members, name_members, pool_tasks
from lorary.cli.commands.train.inputs import describe_prompts, prepare_all, read_training_options
from lorary.cli.commands.train.outcome import report, report_known
from lorary.cli.commands.train.plan import describe_plan, describe_wanted
from lorary.cli.commands.train.run_place import RunPlace, choose_run_place, name_run_folder, use_run_place
from lorary.cli.commands.train.store import ExpertStore
from lorary.cli.commands.train.trackers import check_trackers, report_curves
from lorary.cli.commands.train.wanted import Wanted, find_fault, find_wanted
from lorary.cli.faults import Faults
from lorary.cli.printing import print_facts, print_line
from lorary.cli.tasks import read_tasks
from lorary.cli.training_bar import show_training
from lorary.experts import Expert
from lorary.experts.roles import GENERAL
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.models import BaseModel, find_layers
from lorary.training import TrainConfig, TrainingExamples, train_experts
from lorary.training.curves import plot_curves, save_curves
from lorary.training.folder.run_folder import count_finished
from lorary.training.loop.event import TrainEvent
from lorary.training.memory import check_memory
from lorary.training.rank_check import check_rank
from lorary.training.train import TrainOutcome


def run(options: Namespace) -> int:
    """Read the inputs and print the plan; then train what the library does not have yet, store and report."""
    config = read_options(options)
    tasks = read_tasks(options)
    members = choose_members(list(tasks), options.expert, options.groups)
    continued = read_continued(options["continue"], members)
    general = plan_general(options, tasks, members, config)
    base = load_training_base(options)
    examples = name_members(prepare_all(options, base, pool_tasks(tasks, members), config), members)
    layers = find_layers(base.model, config.target_modules)
    check_memory(base.model.device, layers, config, len(examples))
    check_rank(layers, config.rank)
    # Created only after all checks, so that bad input leaves no new library behind.
    library = Library.open(options.library, create=not continued and options.on_top_of is None)
    starts = load_starts(library, continued, config)
    begun = time.monotonic()
    wanted = find_wanted(
        library,
        base,
        examples,
        config,
        starts,
        replace=options.replace,
        fresh=options.fresh,
        on_top_of=find_known_general(options, library, starts)
        if general is None
        else train_general(options, base, library, general, members),
    )
    if not wanted.missing:
        report_known(options, wanted)
        return 0
    library.require_writable()
    place = choose_place(options, library, wanted, base, config)
    trained = {name: wanted.examples[name] for name in place.names}
    facts = [
        ("library", f"{options.library} (has {say_count(len(library), 'expert')})"),
        *describe_wanted(wanted),
        *describe_other_prompts(starts, describe_prompts(options)),
        *describe_plan(base, tasks, trained, config, place),
    ]
    print_facts(facts, stderr=options.json)
    store = ExpertStore(
        library,
        wanted.missing,
        describe_prompts(options),
        None if options.replace else lambda name, card: find_fault(card, name, wanted, base, config),
        tags=options.tags,
        notes=options.notes,
    )
    outcome = train(options, base, wanted, config, store, place)
    report(options, outcome, store, wanted, place.folder, time.monotonic() - begun)
    return 0


def check(options: Namespace) -> None:
    """Check all options, see ``lorary.cli.command``."""
    read_options(options)


def read_options(options: Namespace) -> TrainConfig:
    """Build the configuration, and check the trackers.

    Raises:
        ValueError: with all invalid settings.
    """
    faults = Faults()
    config = faults.keep(lambda: read_training_options(options))
    faults.keep(lambda: check_trackers(options.report_to))
    faults.raise_all()
    assert config is not None
    return config


def train_general(
    options: Namespace, base: BaseModel, library: Library, plan: GeneralPlan, names: Iterable[str]
) -> Expert:
    """Train a general expert and store it; one from the same training in the library is reused.

    Args:
        options: the command's options.
        base: the base model.
        library: the library.
        plan: the general expert.
        names: names of the experts that will be trained on top of it.
    """
    examples = prepare_all(options, base, {plan.name: plan.task}, plan.config)
    examples = name_members(examples, {plan.name: plan.members})
    layers = find_layers(base.model, plan.config.target_modules)
    check_memory(base.model.device, layers, plan.config, len(examples))
    check_rank(layers, plan.config.rank)
    standing = list_standing(library, plan.name)
    wanted = find_wanted(
        library,
        base,
        examples,
        plan.config,
        {},
        replace=options.replace,
        # While others build on it, it is not trained again.
        fresh=options.fresh and not standing,
    )
    if wanted.missing:
        refuse_replacing(library, plan.name, standing)
        if not options.replace:
            refuse_taken(library, names)
        _train_missing_general(options, base, library, plan, wanted)
    return library[plan.name]


def _train_missing_general(
    options: Namespace, base: BaseModel, library: Library, plan: GeneralPlan, wanted: Wanted
) -> None:
    library.require_writable()
    first = options.run or name_run_folder(options.library, None)
    place = choose_run_place(
        first.with_name(f"{first.name}-{plan.name}"),
        wanted,
        base,
        plan.config,
        list(library),
        fresh=options.fresh,
    )
    tasks = dict.fromkeys(plan.members, plan.task)
    facts = describe_plan(base, tasks, dict(wanted.examples), plan.config, place)
    print_facts([("general", f"{plan.name}, on which the others will build"), *facts], stderr=options.json)
    store = ExpertStore(
        library,
        wanted.missing,
        describe_prompts(options),
        None if options.replace else lambda name, card: find_fault(card, name, wanted, base, plan.config),
        role=GENERAL,
    )
    outcome = train(options, base, wanted, plan.config, store, place)
    save_curves(place.folder / "curves.json", outcome.progress)
    plot_curves(place.folder / "curves.png", outcome.progress)
    if not options.json:
        print_line(f"general expert {quote(plan.name)} stored in library {quote(options.library)}")


def choose_place(
    options: Namespace, library: Library, wanted: Wanted, base: BaseModel, config: TrainConfig
) -> RunPlace:
    """Choose the folder of the run: that of ``--run``, or one beside the library."""
    if options.run is not None:
        return use_run_place(options.run, wanted, base, config, fresh=options.fresh)
    first = name_run_folder(options.library, options.expert or ("groups" if options.groups else None))
    return choose_run_place(first, wanted, base, config, list(library), fresh=options.fresh)


def train(
    options: Namespace,
    base: BaseModel,
    wanted: Wanted,
    config: TrainConfig,
    store: ExpertStore,
    place: RunPlace,
) -> TrainOutcome:
    """Train with a progress bar, and store each expert as soon as it is finished."""
    examples = {name: wanted.examples[name] for name in place.names}
    starts = wanted.starts
    if starts is not None:
        starts = {name: start for name, start in starts.items() if name in examples}
    # An expert that is replaced by its own training is needed until the run has ended, to resume it.
    is_last = starts is not None and options.replace
    finished: dict[str, Expert] = {}
    try:
        settings = {**asdict(config), "base model": base.name}
        with (
            show_steps(place, examples) as show,
            report_curves(options.report_to, place.folder, settings) as tell,
        ):

            def follow(event: TrainEvent[Expert]) -> None:
                finished.update(event.finished)
                show(event)
                tell(event)
                if not is_last:
                    store.store(finished)

            outcome = train_experts(
                base,
                examples,
                config,
                place.folder,
                starts=starts,
                on_top_of=wanted.on_top_of,
                fresh=place.fresh,
                on_progress=follow,
            )
    except KeyboardInterrupt:
        if not is_last:
            store.store(finished)
        done = f"{len(store.stored)} of {say_count(len(wanted.missing), 'expert')}"
        raise KeyboardInterrupt(
            f"{done} finished and stored in library {quote(options.library)}; the last saved state of the "
            f"others is in {quote(str(place.folder))}: run the same command again, without --fresh, to "
            "resume"
        ) from None
    store.store(outcome.experts)
    return outcome


def show_steps(
    place: RunPlace, examples: dict[str, TrainingExamples]
) -> AbstractContextManager[Callable[[TrainEvent[Expert]], None]]:
    """Show a progress bar, unless the run has finished all experts."""
    if not place.fresh and count_finished(place.folder, examples) == len(examples):
        return nullcontext(lambda event: None)
    return show_training(f"training {say_count(len(examples), 'expert')}")
