"""Calibrate the experts of a library; tune the default router's options on examples and store them."""

from typing import Any

from jsonargparse import Namespace

from lorary.assembly import RoutedModel, load_model
from lorary.cli.bars import show_count, show_work
from lorary.cli.base_model import load_options_base
from lorary.cli.console import print_next
from lorary.cli.default_router import are_for_encoder
from lorary.cli.filled_library import open_routed_library
from lorary.cli.printing import print_json, print_line
from lorary.cli.repeat import repeat_prompts
from lorary.cli.tasks import read_task_template, read_tasks
from lorary.cli.tuned_options import describe_options
from lorary.evaluation import EvalConfig
from lorary.evaluation.tuning import Tuning, tune_calibrated
from lorary.files import say_count
from lorary.routing import DEFAULT_ROUTER, CalibratedConfig


def run(options: Namespace) -> int:
    """Calibrate, and tune if there are tasks."""
    if options.reset and options.tasks:
        raise ValueError("--reset removes tuned options, and --tasks tunes them: give only one of the two")
    view = open_routed_library(options)
    if are_for_encoder(view):
        raise ValueError(
            "for a base model with an encoder, the calibrated router needs generic prompts from you: pass "
            "--calibrated.generic to the command that uses it"
        )
    tasks = read_tasks(options) if options.tasks else {}
    library = view.library
    if options.reset:
        library.tune(DEFAULT_ROUTER, None)
    base = load_options_base(options, view)
    with show_work("calibrating") as show:
        model = load_model(base, view, router=None, trust_base=options.trust_base, on_progress=show)
        model.router(DEFAULT_ROUTER)
    found: dict[str, Any] = {"library": options.library, "experts": list(model.names)}
    if not options.json:
        print_line(f"calibrated {say_count(len(model.names), 'expert')} of {options.library}")
    if tasks:
        tuning = _tune(model, tasks, options)
        if tuning.is_better:
            library.tune(DEFAULT_ROUTER, tuning.options)
        found["tuning"] = {**vars(tuning), "is_stored": tuning.is_better}
        if not options.json:
            _print_tuning(tuning)
    if options.json:
        print_json(found)
    else:
        print_next("lorary", "generate", options.library, "PROMPT", *repeat_prompts(view.entries()))
    return 0


def _tune(model: RoutedModel, tasks: Any, options: Namespace) -> Tuning:
    config = EvalConfig(**vars(options.evaluation))
    with show_count("tuning the router") as show:
        return tune_calibrated(
            model, tasks, read_task_template(options), config, CalibratedConfig(), on_progress=show
        )


def _print_tuning(tuning: Tuning) -> None:
    half = f"chosen on {say_count(tuning.num_chosen_on, 'example')}"
    if not tuning.options:
        print_line(f"router     the default options are the best ones, {half}; nothing is stored")
        return
    print_line(f"router     {describe_options(tuning.options)}, {half}")
    change = (
        f"loss {tuning.loss:.3f} instead of {tuning.loss_before:.3f} on "
        f"{say_count(tuning.num_held_out, 'held-out example')} "
        f"(difference {tuning.loss - tuning.loss_before:+.3f} ± {tuning.error:.3f})"
    )
    if tuning.is_better:
        print_line(f"stored     {change}; later commands use these options, --reset removes them")
    else:
        print_line(f"not stored {change}: not better by more than one standard error")
