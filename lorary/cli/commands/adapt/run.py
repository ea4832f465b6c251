"""Read the few examples and the library, adapt with each method and seed, compare, store and report."""

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from jsonargparse import Namespace

from lorary.adaptation import AdaptConfig, Adapted, adapt, hold_out
from lorary.adaptation.checks import check_choice, list_candidates
from lorary.adaptation.chosen import whole_library
from lorary.adaptation.event import AdaptEvent
from lorary.cli.bars import show_bar
from lorary.cli.base_model import load_options_base
from lorary.cli.commands.adapt.configs import read_configs, read_seeds, reseed
from lorary.cli.commands.adapt.plan import describe_plan
from lorary.cli.commands.adapt.report import (
    choose_split,
    compare_methods,
    print_differences,
    print_runs,
    summarize_runs,
)
from lorary.cli.commands.adapt.storing import (
    Run,
    choose_store,
    name_experts,
    require_free_names,
    store_experts,
)
from lorary.cli.commands.train.experts import describe_prompts
from lorary.cli.commands.train.run_place import name_run_folder
from lorary.cli.console import print_next
from lorary.cli.default_router import are_for_encoder
from lorary.cli.filled_library import open_routed_library
from lorary.cli.left_out import tell_prompts
from lorary.cli.printing import print_facts, print_json, print_line
from lorary.cli.repeat import repeat_base, repeat_command, repeat_prompt_template
from lorary.cli.tasks import read_task_template, read_tasks
from lorary.data import SplitConfig, Task, TokenizedExample, subsample, tokenize_examples
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.library.view import LibraryView
from lorary.models import BaseModel
from lorary.training import TrainingExamples, prepare_examples

# A file without splits has training examples only.
FEW = SplitConfig(train=1.0, validation=0.0, test=0.0)
MOST_TEST = 100
"""Examples of a test that are measured, for each task."""


def run(options: Namespace) -> int:
    """Check the options and print the plan; then adapt, compare, store and report."""
    library = open_routed_library(options)
    configs = read_configs(options, is_for_encoder=are_for_encoder(library))
    seeds, methods = read_seeds(options), list(configs)
    if options.against is not None and options.against not in methods:
        raise ValueError(
            f"--against must be one of the methods of this run, {', '.join(methods)}, found "
            f"{quote(options.against, 60)}"
        )
    store = choose_store(options, methods)
    tasks = {name: cut_task(task, options.shots) for name, task in read_tasks(options, FEW).items()}
    names = name_experts(options, store, methods, list(tasks))
    target = library.library if options.out is None else open_target(options.out)
    if target is not None:
        require_free_names(target, names, options)
    base = load_options_base(options, library)
    train = next(iter(configs.values())).train
    examples = prepare_examples(
        base.tokenizer,
        tasks,
        read_task_template(options),
        max_length=options.max_length,
        truncation=options.truncation,
        max_validation_examples=train.max_validation_examples,
        is_encoder_decoder=base.is_encoder_decoder,
    )
    tell_prompts([found.counts for found in examples.values()], "training and validation examples")
    for config in configs.values():
        check_method(library, examples, config)
    folder = options.run or name_adapt_folder(options.library, list(tasks))
    print_facts(
        list(describe_plan(options, library, base, examples, configs, folder, store)), stderr=options.json
    )
    measured = {
        name: (*examples[name].validation, *tokenize_test(options, base, task))
        for name, task in tasks.items()
    }
    runs = [
        Run(
            method=method,
            seed=seed,
            adapted=adapt_one(
                options,
                base,
                library,
                examples,
                measured,
                reseed(config, seed),
                folder / method / f"seed-{seed}",
            ),
            num_validation={name: len(found.validation) for name, found in examples.items()},
        )
        for method, config in configs.items()
        for seed in seeds
    ]
    stored = {}
    if names:
        if target is None:
            target = Library.open(options.out, create=True)
        stored = store_experts(
            target, runs, names, store, describe_prompts(options), replaces=options.replace
        )
    report(options, runs, stored, target or library.library, folder)
    return 0


def check_method(library: LibraryView, examples: Mapping[str, TrainingExamples], config: AdaptConfig) -> None:
    """Refuse a method without the experts that it needs, before the plan is printed.

    Raises:
        ValueError, DataError: with all faults.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is left out is told when the method runs
        candidates = list_candidates(library, config, examples)
    check_choice(whole_library(library), candidates, examples, config)


def cut_task(task: Task, shots: int | None) -> Task:
    """Take at most some of a task's training examples, and hold out those for validation.

    Raises:
        ValueError: if there are to be none.
    """
    if shots is not None and shots < 1:
        raise ValueError(f"--shots must be at least 1, found {shots}")
    train = task.splits.get("train", ())
    if shots is not None:
        train = subsample(train, shots)
    return hold_out(replace(task, splits={**task.splits, "train": train}))


def open_target(out: str) -> Library | None:
    """Open the library of ``--out``; None if it does not exist yet."""
    return Library.open(out) if "://" in out or Path(out).exists() else None


def tokenize_test(options: Namespace, base: BaseModel, task: Task) -> tuple[TokenizedExample, ...]:
    """Return the test examples of a task, at most ``MOST_TEST``, chosen by content."""
    test = subsample(task.splits.get("test", ()), MOST_TEST)
    return tokenize_examples(
        base.tokenizer,
        read_task_template(options),
        task,
        test,
        max_length=options.max_length,
        truncation=options.truncation,
        is_encoder_decoder=base.is_encoder_decoder,
    ).examples


def name_adapt_folder(library: str, tasks: list[str]) -> Path:
    """Name a folder for the state of an adaptation to some tasks."""
    more = f"-and-{len(tasks) - 1}-more" if len(tasks) > 1 else ""
    return name_run_folder(library, f"adapt-{tasks[0]}{more}")


def adapt_one(
    options: Namespace,
    base: BaseModel,
    library: LibraryView,
    examples: Mapping[str, TrainingExamples],
    measured: Mapping[str, tuple[TokenizedExample, ...]],
    config: AdaptConfig,
    folder: Path,
) -> Adapted:
    """Adapt with one method and seed, with a progress bar for each stage."""
    what = f"{config.method}, seed {config.train.seed}"
    shown: dict[str, tuple[Callable[[int, int, str], None], float]] = {}
    try:
        with ExitStack() as bars:

            def show(event: AdaptEvent) -> None:
                if event.stage not in shown:
                    bars.close()
                    bar = bars.enter_context(show_bar(f"{what}: {event.stage}"))
                    shown[event.stage] = bar, time.monotonic()
                update, begun = shown[event.stage]
                update(event.num_done, event.num_steps, describe_event(event, time.monotonic() - begun))

            return adapt(
                base,
                library,
                examples,
                config,
                folder,
                measured=measured,
                trust_base=options.trust_base,
                fresh=options.fresh,
                on_progress=show,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"the state so far is in {quote(str(folder.parent.parent))}: run the same command again, without "
            "--fresh, to go on"
        ) from None


def describe_event(event: AdaptEvent, seconds: float) -> str:
    """Describe the rate, and the mean loss of the tasks.

    Args:
        event: the event.
        seconds: time since this session of the stage began.
    """
    notes = []
    if event.num_tokens and seconds > 0:
        notes.append(f"{event.num_tokens / seconds:.0f} tokens/s")
    if event.losses:
        notes.append(f"loss {sum(event.losses.values()) / len(event.losses):.2f}")
    return " · ".join(notes)


def report(
    options: Namespace,
    runs: list[Run],
    stored: Mapping[str, tuple[str, str, int]],
    target: Library,
    folder: Path,
) -> None:
    """Print what came of all runs, and the next command."""
    differences = compare_methods(runs, options.against)
    if options.json:
        places = {
            name: {"task": task, "method": method, "seed": seed}
            for name, (task, method, seed) in stored.items()
        }
        print_json(
            {
                "library": options.library,
                "run": str(folder),
                **summarize_runs(runs, differences),
                "stored_in": target.url,
                "stored": places,
            }
        )
        return
    print_runs(runs)
    print_differences(differences, choose_split(runs))
    if not stored:
        print_next("lorary", "adapt", *repeat_command(options, "--store", "best"))
        return
    names = ", ".join(f"{name} ({method})" for name, (_, method, _) in stored.items())
    print_line(f"{say_count(len(stored), 'expert')} stored in library {quote(target.url)}: {names}")
    words = [*repeat_base(options), *repeat_prompt_template(options)]
    print_next("lorary", "generate", target.url, "PROMPT", "--expert", next(iter(stored)), *words)
