"""Measure each route on each task, and print the results."""

from jsonargparse import Namespace

from lorary.cli.commands.eval.harness import measure_benchmarks
from lorary.cli.commands.eval.report import print_result, summarize_result, write_result
from lorary.cli.comparison.measure import measure_routes
from lorary.cli.comparison.prepare import prepare_comparison, read_eval_options
from lorary.cli.console import print_next
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_json, print_line
from lorary.cli.repeat import repeat_base, repeat_command, repeat_prompt_template
from lorary.evaluation import Result


def run(options: Namespace) -> int:
    """Check the options, measure each route on each task, and print the results."""
    if options.out is not None:
        check_out(options.out, options.library)
    result = measure(options)
    if options.out is not None:
        write_result(result, options.out, options.against)
    if options.json:
        print_json(summarize_result(result, options.against))
        return 0
    print_result(result, options.against)
    asked = () if options.harness is not None else read_eval_options(options).metrics
    missing = [metric for metric in asked if metric not in result.metrics]
    if missing:
        print_line(f"no example can be used for {', '.join(missing)}: accuracies need examples with choices")
    if options.out is not None:
        print_line(f"results: {options.out / 'results.json'}  tables: {options.out / 'table.md'}")
        words = [*repeat_base(options), *repeat_prompt_template(options)]
        print_next("lorary", "generate", options.library, "PROMPT", *words, "--show-experts")
    else:
        print_next("lorary", "eval", *repeat_command(options, "--out", "results"))
    return 0


def measure(options: Namespace) -> Result:
    """Load base and experts once, and evaluate.

    Raises:
        ValueError: if there is neither ``--tasks`` nor ``--harness``.
    """
    if options.harness is None and options.tasks is None:
        raise ValueError("lorary eval needs --tasks or --harness: name files of tasks, or benchmarks")
    try:
        if options.harness is not None:
            return measure_benchmarks(options).result
        return measure_routes(prepare_comparison(options))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "an interrupted evaluation keeps no results; the library is unchanged"
        ) from None
