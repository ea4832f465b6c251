"""Read the few examples and the library, adapt with each method and seed, compare, store and report."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from jsonargparse import Namespace

from lorary.adaptation import AdaptConfig, Adapted, adapt
from lorary.adaptation.event import AdaptEvent
from lorary.cli.bars import show_bar
from lorary.cli.commands.adapt.configs import reseed
from lorary.cli.commands.adapt.plan import describe_plan
from lorary.cli.commands.adapt.prepare import AdaptJob, prepare_job, read_settings
from lorary.cli.commands.adapt.report import (
    choose_split,
    compare_methods,
    print_differences,
    print_runs,
    summarize_runs,
)
from lorary.cli.commands.adapt.storing import Run, store_experts
from lorary.cli.commands.train.inputs import describe_prompts
from lorary.cli.commands.train.run_place import name_run_folder
from lorary.cli.console import print_next
from lorary.cli.printing import print_facts, print_json, print_line
from lorary.cli.repeat import repeat_base, repeat_command, repeat_prompt_template
from lorary.cli.stopping import told_if_stopped
from lorary.files import quote, say_count
from lorary.library import Library


def check(options: Namespace) -> None:
    """Check all options, see ``lorary.cli.command``."""
    read_settings(options)


def run(options: Namespace) -> int:
    """Check the options and print the plan; then adapt, compare, store and report."""
    with told_if_stopped("nothing was computed yet; run the same command again to start"):
        job = prepare_job(options)
        folder = options.run or name_adapt_folder(options.library, list(job.examples))
        print_facts(list(describe_plan(options, job, folder)), stderr=options.json)
    runs = [
        Run(
            method=method,
            seed=seed,
            adapted=adapt_one(options, job, reseed(config, seed), folder / method / f"seed-{seed}"),
            num_validation={name: len(found.validation) for name, found in job.examples.items()},
        )
        for method, config in job.configs.items()
        for seed in job.seeds
    ]
    target, stored = job.target, {}
    if job.names:
        if target is None:
            target = Library.open(options.out, create=True)
        stored = store_experts(
            target, runs, job.names, job.store, describe_prompts(options), replaces=options.replace
        )
    report(options, runs, stored, target or job.library.library, folder)
    return 0


def name_adapt_folder(library: str, tasks: list[str]) -> Path:
    """Name a folder for the state of an adaptation to some tasks."""
    more = f"-and-{len(tasks) - 1}-more" if len(tasks) > 1 else ""
    return name_run_folder(library, f"adapt-{tasks[0]}{more}")


def adapt_one(options: Namespace, job: AdaptJob, config: AdaptConfig, folder: Path) -> Adapted:
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
                job.base,
                job.library,
                job.examples,
                config,
                folder,
                measured=job.measured,
                trust_base=options.trust_base,
                fresh=options.fresh,
                on_progress=show,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"the state so far is in {quote(str(folder.parent.parent))}: run the same command again, "
            "without --fresh, to continue"
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
    """Print the results of all runs, and the next command."""
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
