"""Measure each route on each task, and print the results."""

from pathlib import Path

from jsonargparse import Namespace

from lorary.cli.base_model import read_device
from lorary.cli.commands.eval.compare import compare_files
from lorary.cli.commands.eval.harness import check_harness_options, measure_benchmarks
from lorary.cli.commands.eval.kept_answers import keep_answers
from lorary.cli.commands.eval.report import print_result, summarize_result, write_result
from lorary.cli.comparison.measure import measure_routes
from lorary.cli.comparison.prepare import prepare_comparison, read_eval_options
from lorary.cli.comparison.without_library import list_missing
from lorary.cli.console import print_next
from lorary.cli.faults import Faults
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_json, print_line
from lorary.cli.repeat import repeat_base, repeat_command, repeat_prompt_template
from lorary.evaluation import Result
from lorary.evaluation.predictions import Prediction, write_predictions

ITEMS = "items.jsonl"


def run(options: Namespace) -> int:
    """Check the options, measure each route on each task, and print the results."""
    if options.compare is not None:
        return compare_files(options)
    check(options)
    result = measure(options)
    if options.json:
        print_json(summarize_result(result, options.against))
        return 0
    print_result(result, options.against)
    asked = () if options.harness is not None else read_eval_options(options).metrics
    missing = [metric for metric in asked if metric not in result.metrics]
    if missing:
        print_line(f"no example can be used for {', '.join(missing)}: accuracies need examples with choices")
    if options.out is not None:
        print_line(
            f"results: {options.out / 'results.json'}  tables: {options.out / 'table.md'}  answers: "
            f"{options.out / ITEMS}"
        )
        if options.library is not None:
            words = [*repeat_base(options), *repeat_prompt_template(options)]
            print_next("lorary", "generate", options.library, "PROMPT", *words, "--show-experts")
    else:
        print_next("lorary", "eval", *repeat_command(options, "--out", "results"))
    return 0


def check(options: Namespace) -> None:
    """Refuse missing and contradictory options, all at once, and places that cannot be written.

    Raises:
        ValueError: with the options.
    """
    if options.compare is not None:
        return  # checked by ``compare_files``
    faults = Faults()
    if options.library is None:
        faults.add(*list_missing(options))
    if options.harness is None and options.tasks is None:
        faults.add("lorary eval needs --tasks or --harness: name task files, or benchmarks")
    for name, is_given in (("--data", options.data is not None), ("--allow-code", options.allow_code)):
        if is_given and options.harness is None:
            faults.add(f"{name} is for --harness: name benchmarks, or leave it out")
    if options.harness is not None:
        faults.keep(lambda: check_harness_options(options))
        if options.shots:
            faults.add("--shots is for --tasks: benchmarks take --lm_eval.num_fewshot")
    if options.out is None and any(word.partition("=")[0] == "--resume" for word in options.words):
        faults.add("--resume needs --out, the folder of the run to continue")
    faults.keep(lambda: read_eval_options(options))
    faults.keep(lambda: read_device(options))
    if options.out is not None:
        faults.keep(lambda: check_out(options.out, options.library))
    faults.raise_all()


def measure(options: Namespace) -> Result:
    """Load base and experts once, evaluate, and write the files of ``--out``."""
    predictions: list[Prediction] = []
    try:
        if options.harness is not None:
            result = measure_benchmarks(options, predictions.append)
        else:
            found = prepare_comparison(options)
            with keep_answers(options) as store:
                result = measure_routes(found, store, predictions.append)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_explain_stop(options.out)) from None
    if options.out is not None:
        write_predictions(options.out / ITEMS, predictions)
        write_result(result, options.out, options.against)
    return result


def _explain_stop(out: Path | None) -> str:
    if out is None:
        return "an interrupted evaluation keeps no results; the library is unchanged"
    return "the answers so far are kept: run the same command again to continue; the library is unchanged"
