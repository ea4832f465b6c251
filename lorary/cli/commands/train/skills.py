"""Train skills that all tasks share, and their table: Polytropon and MHR."""

import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from jsonargparse import Namespace

from lorary.cli.base_model import load_training_base
from lorary.cli.commands.train.card_options import refuse_card_options
from lorary.cli.commands.train.groups import name_members
from lorary.cli.commands.train.inputs import describe_prompts, prepare_all, read_training_options
from lorary.cli.commands.train.report import COLUMNS, NUMERIC, summarize_progress, tabulate_progress
from lorary.cli.commands.train.run_place import name_run_folder
from lorary.cli.commands.train.skill_plan import describe_skill_plan
from lorary.cli.commands.train.skill_store import check_skill_names, store_trained
from lorary.cli.commands.train.trackers import check_trackers, report_curves, tell_all
from lorary.cli.console import print_next, print_table
from lorary.cli.faults import Faults
from lorary.cli.printing import print_facts, print_json, print_line
from lorary.cli.tasks import read_tasks
from lorary.cli.training_bar import show_training
from lorary.experts import check_name
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.training import SkillConfig, TrainConfig, train_skills
from lorary.training.curves import plot_curves, save_curves
from lorary.training.folder.run_folder import count_finished
from lorary.training.skill_training import SkillOutcome

DEFAULT_NAME = "skills"


def run(options: Namespace) -> int:
    """Read the inputs and print the plan; then train, store and report."""
    config = read_skill_options(options)
    tasks = read_tasks(options)
    base = load_training_base(options)
    members = {task: (task,) for task in tasks}
    examples = name_members(prepare_all(options, base, tasks, config.train), members)
    name = options.expert or DEFAULT_NAME
    run_folder = options.run or name_run_folder(options.library, options.expert, options.method)
    plan = list(describe_skill_plan(base, examples, config, name, run_folder, options.fresh))
    # Created only after all checks, so that bad input leaves no new library behind.
    library = Library.open(options.library, create=True)
    library.require_writable()
    if not options.replace:
        check_skill_names(library, name, base, examples, config)
    there = f"{options.library} (has {say_count(len(library), 'expert')})"
    print_facts([("library", there), *plan], stderr=options.json)
    begun = time.monotonic()
    is_new = options.fresh or count_finished(run_folder, [name]) != 1
    try:
        with (
            show_training("training skills") if is_new else nullcontext() as show,
            report_curves(options.report_to, run_folder, asdict(config)) as tell,
        ):
            outcome = train_skills(
                base,
                examples,
                config,
                run_folder,
                name=name,
                fresh=options.fresh,
                on_progress=tell_all(show, tell),
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"the last saved state is in {quote(str(run_folder))}: run the same command again, without "
            "--fresh, to resume"
        ) from None
    store_trained(library, name, base, outcome.skill_set, examples, describe_prompts(options))
    report(options, outcome, name, run_folder, time.monotonic() - begun)
    return 0


def check(options: Namespace) -> None:
    """Check all options, see ``lorary.cli.command``."""
    read_skill_options(options)


def read_skill_options(options: Namespace) -> SkillConfig:
    """Build the configuration.

    Raises:
        ValueError: with all settings that are invalid or do not suit the method.
    """
    faults = Faults()
    train = faults.keep(lambda: read_training_options(options))
    given = vars(options.skills)
    config = faults.keep(lambda: SkillConfig(train=train or TrainConfig(max_steps=1), **given))
    if options.expert is not None:
        faults.keep(lambda: check_name(options.expert) and check_name(f"{options.expert}-0"))
    faults.add(*_find_faults(options))
    faults.keep(lambda: refuse_card_options(options))
    faults.keep(lambda: check_trackers(options.report_to))
    faults.raise_all()
    assert config is not None
    return config


def _find_faults(options: Namespace) -> list[str]:
    faults, method, given = [], options.method, options.skills
    if options.groups is not None:
        faults.append(f"--groups trains one expert per group, found --method {method}: leave one of them out")
    if method == "poly" and given.num_splits != 1:
        faults.append(
            f"--method poly has 1 split, found --skills.num_splits {given.num_splits}: use --method mhr"
        )
    if method == "mhr" and given.num_splits == 1:
        faults.append("--method mhr needs --skills.num_splits of at least 2, such as 8, found 1")
    if given.trained == "table":
        faults.append("--skills.trained table needs skills to start from, which this command does not have")
    if given.new_rows == "mean":
        faults.append("--skills.new_rows mean needs a table to start from, which this command does not have")
    return faults


def report(options: Namespace, outcome: SkillOutcome, name: str, run_folder: Path, seconds: float) -> None:
    """Save the loss curves in the run's folder, and print the outcome."""
    progress = {name: outcome.progress}
    save_curves(run_folder / "curves.json", progress)
    plot_curves(run_folder / "curves.png", progress)
    skills = [skill.name for skill in outcome.skill_set.skills]
    if options.json:
        summary = summarize_progress(name, outcome.progress)
        place = {"library": options.library, "run": str(run_folder), "seconds": round(seconds, 2)}
        print_json({**place, "skills": skills, "tasks": list(outcome.skill_set.table.tasks), **summary})
        return
    print_table(COLUMNS, tabulate_progress(progress), NUMERIC)
    print_line(
        f"{say_count(len(skills), 'skill')}, and the table of "
        f"{say_count(len(outcome.skill_set.table.tasks), 'task')}, stored in library "
        f"{quote(options.library)} after {seconds:.0f} s; loss curves: {run_folder / 'curves.png'}"
    )
    print_next("lorary", "library", "ls", options.library)
