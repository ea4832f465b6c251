"""Measure routes on benchmarks of lm-evaluation-harness."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from jsonargparse import Namespace

from lorary.cli.commands.eval.kept_answers import keep_answers
from lorary.cli.comparison.prepare import prepare_routes, read_eval_options
from lorary.cli.comparison.routes import split_commas
from lorary.cli.evaluation_bar import show_evaluation
from lorary.cli.printing import print_line
from lorary.cli.tasks import read_tasks
from lorary.cli.template_options import read_template_args
from lorary.evaluation import Result, bridges
from lorary.evaluation.bridges.config import USED, HarnessConfig
from lorary.evaluation.predictions import Prediction
from lorary.files import quote, say_count

PACKAGE = "lm_eval"


def measure_benchmarks(options: Namespace, on_prediction: Callable[[Prediction], None]) -> Result:
    """Load the benchmarks, then base and experts once, and measure.

    Args:
        options: the command's options.
        on_prediction: called with what each route answered to each document.

    Raises:
        ValueError: with the invalid options.
        DataError: with everything that is wrong with the names or the files of the benchmarks.
    """
    config = read_eval_options(options)
    harness = HarnessConfig(**vars(options.lm_eval))
    names = split_commas(options.harness)
    benchmarks, data = bridges.load_benchmarks(names, options.data, harness, allow_code=options.allow_code)
    tasks = read_tasks(options) if options.tasks is not None else {}
    measured = {task.task_name: each.name for each in benchmarks for task in each.tasks}
    found = prepare_routes(options, measured, tasks, config.seed)
    what = f"comparing {say_count(len(found.routes), 'route')} on {say_count(len(benchmarks), 'benchmark')}"
    with keep_answers(options) as store, show_evaluation(what) as show:
        outcome = bridges.measure_harness(
            found.model,
            benchmarks,
            found.routes,
            config,
            harness,
            has_chat_template=options.template == "chat",
            template_args=read_template_args(options.template_args),
            data_digests=data.digests,
            store=store,
            on_progress=show,
        )
    tell_notes(outcome.result.headers[0]["settings"])
    for prediction in bridges.list_predictions(outcome):
        on_prediction(prediction)
    return outcome.result


def check_harness_options(options: Namespace) -> None:
    """Refuse options that do not suit ``--harness``, all at once.

    Raises:
        ValueError: with the options.
    """
    faults = []
    if find_spec(PACKAGE) is None:
        faults.append("--harness needs the package lm-eval: pip install 'lorary[lm-eval]'")
    if not split_commas(options.harness):
        faults.append(f"--harness must name at least one task, found {quote(options.harness)}")
    if options.data is None:
        faults.append("--harness needs --data, the folder of the benchmarks' files")
    given = dict.fromkeys(word.partition("=")[0] for word in options.words)
    if "--metrics" in given:
        faults.append("--metrics is for --tasks: tasks of --harness have their own metrics")
    unused = [
        word
        for word in given
        if word.startswith("--evaluation.") and word.removeprefix("--evaluation.") not in USED
    ]
    if unused:
        faults.append(
            f"{', '.join(unused)}: for --tasks only: tasks of --harness have their own splits, and take "
            "--lm_eval.max_length and --lm_eval.max_new_tokens"
        )
    if faults:
        raise ValueError("; ".join(faults))


def tell_notes(settings: Mapping[str, object]) -> None:
    """Print on stderr the numbers of truncated contexts and of empty answers."""
    for task, number in _read_counts(settings, "cut").items():
        print_line(
            f"{task}: {say_count(number, 'context')} longer than the model reads lost the beginning",
            stderr=True,
        )
    for task, number in _read_counts(settings, "empty").items():
        print_line(f"{task}: {say_count(number, 'empty answer')}, graded as any other", stderr=True)
    shared = settings.get("shared", 0)
    assert isinstance(shared, int)
    if shared:
        print_line(
            f"{say_count(shared, 'document')} in more than one of the tasks: means over tasks count each as "
            "often, and their errors are too small",
            stderr=True,
        )


def _read_counts(settings: Mapping[str, object], name: str) -> Mapping[str, int]:
    found = settings.get(name, {})
    assert isinstance(found, Mapping)
    return found
