"""Read the tasks and print the plan; then train, store and report."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from jsonargparse import Namespace

from lorary.cli.base_model import load_options_base
from lorary.cli.commands.train.groups import choose_members, name_members, pool_tasks
from lorary.cli.commands.train.plan import choose_run_folder, describe_plan
from lorary.cli.commands.train.report import COLUMNS, NUMERIC, summarize_progress, tabulate_progress
from lorary.cli.commands.train.store import ExpertStore
from lorary.cli.console import print_next, print_table
from lorary.cli.printing import print_facts, print_json, print_line
from lorary.cli.repeat import repeat_tasks
from lorary.cli.tasks import read_task_template, read_tasks
from lorary.cli.template_options import read_template_args
from lorary.cli.training_bar import show_training
from lorary.data import Task
from lorary.experts import Expert
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.models import BaseModel
from lorary.training import TrainConfig, TrainingExamples, prepare_examples, train_experts
from lorary.training.curves import plot_curves, save_curves
from lorary.training.folder.run_folder import count_finished
from lorary.training.loop.event import TrainEvent
from lorary.training.train import TrainOutcome

DEFAULT_EPOCHS = 3.0


def run(options: Namespace) -> int:
    """Read the inputs and print the plan; then train, store and report."""
    config = read_training_options(options)
    tasks = read_tasks(options)
    members = choose_members(list(tasks), options.expert, options.groups)
    base = load_options_base(options)
    examples = name_members(prepare_all(options, base, pool_tasks(tasks, members), config), members)
    apart = options.expert or ("groups" if options.groups else None)
    run_folder = options.run or choose_run_folder(options.library, apart)
    plan = list(describe_plan(base, tasks, examples, config, run_folder, options.fresh))
    # Created only after all checks, so that bad input leaves no new library behind.
    library = Library.open(options.library, create=True)
    store = ExpertStore(library, examples, describe_prompts(options))
    if not options.replace:
        store.check_names(config, base.fingerprint)
    there = f"{options.library} (has {say_count(len(library), 'expert')})"
    print_facts([("library", there), *plan], stderr=options.json)
    begun = time.monotonic()
    outcome = train(options, base, examples, config, store, run_folder)
    report(options, outcome, store, run_folder, time.monotonic() - begun)
    return 0


def read_training_options(options: Namespace) -> TrainConfig:
    """Build the configuration, with ``DEFAULT_EPOCHS`` if no bound is given.

    Raises:
        ValueError: with all invalid settings.
    """
    given = dict(vars(options.training))
    if all(given[name] is None for name in ("epochs", "max_steps", "max_tokens")):
        given["epochs"] = DEFAULT_EPOCHS
    return TrainConfig(**given)


def prepare_all(
    options: Namespace,
    base: BaseModel,
    experts: dict[str, Task],
    config: TrainConfig,
) -> dict[str, TrainingExamples]:
    """Tokenise the examples of each expert."""
    return prepare_examples(
        base.tokenizer,
        experts,
        read_task_template(options),
        max_length=options.max_length,
        truncation=options.truncation,
        max_validation_examples=config.max_validation_examples,
    )


def describe_prompts(options: Namespace) -> dict[str, object]:
    """Describe how examples became prompts, for the experts' cards."""
    template_args = read_template_args(options.template_args)
    return {
        "template": options.template,
        **({"template_args": template_args} if template_args else {}),
        "with_definition": options.with_definition,
        "max_length": options.max_length,
        "truncation": options.truncation,
    }


def train(
    options: Namespace,
    base: BaseModel,
    examples: dict[str, TrainingExamples],
    config: TrainConfig,
    store: ExpertStore,
    run_folder: Path,
) -> TrainOutcome:
    """Train with a progress bar, and store each expert as soon as it is finished."""
    finished: dict[str, Expert] = {}
    try:
        with show_steps(options, examples, run_folder) as show:

            def follow(event: TrainEvent[Expert]) -> None:
                finished.update(event.finished)
                show(event)
                store.store(finished)

            outcome = train_experts(
                base, examples, config, run_folder, fresh=options.fresh, on_progress=follow
            )
    except KeyboardInterrupt:
        store.store(finished)
        raise KeyboardInterrupt(
            f"{len(store.stored)} of {say_count(len(examples), 'expert')} finished and stored in library "
            f"{quote(options.library)}; the last saved state of the others is in {quote(str(run_folder))}: "
            "run the same command again, without --fresh, to resume"
        ) from None
    store.store(outcome.experts)
    return outcome


def show_steps(
    options: Namespace, examples: dict[str, TrainingExamples], run_folder: Path
) -> AbstractContextManager[Callable[[TrainEvent[Expert]], None]]:
    """Show a progress bar, unless the run has finished all experts."""
    if not options.fresh and count_finished(run_folder, examples) == len(examples):
        return nullcontext(lambda event: None)
    return show_training(f"training {say_count(len(examples), 'expert')}")


def report(
    options: Namespace, outcome: TrainOutcome, store: ExpertStore, run_folder: Path, seconds: float
) -> None:
    """Save the loss curves in the run's folder, and print the outcome."""
    save_curves(run_folder / "curves.json", outcome.progress)
    plot_curves(run_folder / "curves.png", outcome.progress)
    if options.json:
        experts = [summarize_progress(name, found) for name, found in outcome.progress.items()]
        place = {"library": options.library, "run": str(run_folder), "seconds": round(seconds, 2)}
        print_json({**place, "experts": experts})
        return
    print_table(COLUMNS, tabulate_progress(outcome.progress), NUMERIC)
    print_line(
        f"{say_count(len(store.stored), 'expert')} stored in library {quote(options.library)} after "
        f"{seconds:.0f} s; loss curves: {run_folder / 'curves.png'}"
    )
    words = [] if options.expert or options.groups else repeat_tasks(options)
    if words:
        device = [] if options.device is None else ["--device", options.device]
        # Experts name their base model; a longer limit in training is needed in measuring too.
        length = ["--evaluation.max_length", str(options.max_length)] if options.max_length != 512 else []
        print_next("lorary", "eval", options.library, *words, *device, *length)
    else:
        print_next("lorary", "library", "show", options.library, next(iter(outcome.experts)))
