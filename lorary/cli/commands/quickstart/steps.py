"""The steps of the quickstart: train, store, route, measure, answer, draw."""

import os
import shutil
import time
from pathlib import Path

from lorary.assembly import RoutedModel, load_model
from lorary.cli.bars import show_work
from lorary.cli.commands.quickstart.outcome import Outcome, save_outcome
from lorary.cli.commands.quickstart.plan import METRIC, ROUTER, ROUTES, QuickstartPlan
from lorary.cli.console import show_status
from lorary.cli.evaluation_bar import show_evaluation
from lorary.cli.training_bar import show_training
from lorary.data import Task, find_template, mix_tasks
from lorary.data.synthetic import generate_tasks
from lorary.evaluation import EvalConfig, Result, evaluate, make_routes
from lorary.evaluation.routing_survey import survey_routing
from lorary.files import say_count
from lorary.files.picture import FORMATS
from lorary.library import Library
from lorary.models import BaseModel, load_base
from lorary.reports.routed_sample import RoutedSample
from lorary.reports.routing_picture import write_routing_html
from lorary.reports.traced_sample import trace_sample
from lorary.reports.usage_plot import plot_usage
from lorary.routing import ROUTERS
from lorary.training import TrainConfig, prepare_examples, train_experts

TEMPLATE = find_template("plain")
# The quickstart's files; the first two identify a folder as the quickstart's own.
MARKS = ("outcome.json", "library-run")
PICTURES = tuple(f"routing.{suffix}" for suffix in FORMATS)
PARTS = (*MARKS, "controls-run", "library", "controls", "results.json", "routing.html", *PICTURES)
NUM_ANSWERS = 4
NUM_TRACED = 2
ANSWER_TOKENS = 24


def make_outcome(plan: QuickstartPlan, out: Path, *, fresh: bool) -> Outcome:
    """Run all steps; training resumes from an earlier run unless ``fresh``."""
    begun = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    if fresh:
        remove_earlier(out)
    with show_status("loading the base model (the first time takes half a minute, to unpack the weights)"):
        base = load_base(plan.base)
    tasks = generate_tasks(
        plan.tasks, seed=plan.seed, train=plan.max_steps * plan.batch_size, validation=0, test=plan.num_tests
    )
    model = _build_model(plan, base, tasks, out)
    with show_evaluation(f"comparing {say_count(len(ROUTES), 'route')}") as show:
        result = evaluate(
            model,
            tasks,
            make_routes(ROUTES, model, {name: name for name in tasks}),
            TEMPLATE,
            EvalConfig(
                metrics=(METRIC,), num_examples=plan.num_tests, max_new_tokens=ANSWER_TOKENS, batch_size=64
            ),
            on_progress=show,
        )
    with show_status("analysing the routing of tokens"):
        answering = EvalConfig(num_examples=1, max_new_tokens=ANSWER_TOKENS)
        samples = tuple(
            trace_sample(model, name, tasks[name], TEMPLATE, answering) for name in list(tasks)[:NUM_ANSWERS]
        )
        _draw(model, tasks, result, samples, out)
    outcome = Outcome(result, samples, time.monotonic() - begun)
    save_outcome(plan, outcome, out)
    return outcome


def remove_earlier(out: Path) -> None:
    """Remove the files of an earlier quickstart from a folder, but no other files."""
    if not any(os.path.lexists(out / part) for part in MARKS):
        return
    for part in PARTS:
        path = out / part
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _build_model(plan: QuickstartPlan, base: BaseModel, tasks: dict[str, Task], out: Path) -> RoutedModel:
    what = f"training {say_count(len(tasks), 'expert')} at once"
    experts = _train(plan, base, tasks, plan.max_steps, what, out / "library")
    together = {"multi-task": mix_tasks(tasks, "multi-task")}
    controls = _train(
        plan, base, together, plan.multi_task_steps, "training one expert on all tasks", out / "controls"
    )
    with show_work("preparing the router") as show:
        model = load_model(base, experts, router=ROUTER, controls=controls, on_progress=show)
        # What the compared routers need is computed here, so that its progress is shown.
        for route in (route for route in ROUTES if route in ROUTERS):
            model.router(route)
        return model


def _train(
    plan: QuickstartPlan, base: BaseModel, tasks: dict[str, Task], steps: int, what: str, url: Path
) -> Library:
    config = TrainConfig(
        max_steps=steps,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        # Attention over short rows is cheaper, and the examples are short.
        row_length=128,
        num_slots=len(tasks),
        seed=plan.seed,
    )
    examples = prepare_examples(base.tokenizer, tasks, TEMPLATE)
    with show_training(what) as show:
        outcome = train_experts(base, examples, config, url.with_name(f"{url.name}-run"), on_progress=show)
    library = Library.open(str(url), create=True)
    for name, expert in outcome.experts.items():
        library[name] = expert
    return library


def _draw(
    model: RoutedModel, tasks: dict[str, Task], result: Result, samples: tuple[RoutedSample, ...], out: Path
) -> None:
    survey = survey_routing(model, tasks, TEMPLATE, EvalConfig(num_examples=NUM_TRACED))
    write_routing_html(
        out / "routing.html",
        samples,
        model.names,
        usage_by_task=survey.usage_by_task,
        usage_by_layer=survey.usage_by_layer,
        scores_by_task=survey.scores_by_task,
        result=result,
        title=f"Experts chosen by {ROUTER}, the default router",
    )
    plot_usage(out / "routing.png", survey.usage_by_task, f"experts chosen by {ROUTER}, the default router")
