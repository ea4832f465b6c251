"""Write one page about a library: results, who was routed where, which experts are alike.

The page needs nothing but a browser. It holds the results of the --routes with standard errors, the routing
of one --router by task and by layer and how undecided it is, the loss of every expert on every task, the
similarity of the experts with its tree, and samples whose tokens are coloured by expert.
"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from lorary.cli import model_options
from lorary.cli.commands.eval.command import add_comparison_options
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_line, print_next
from lorary.files import quote

EXAMPLE = "lorary report ./my-loras --tasks synthetic --router arrow --out report"


def add_arguments(parser: ArgumentParser) -> None:
    """Add what is compared, the router that is looked into, and how closely."""
    from lorary.routing import DEFAULT_ROUTER

    add_comparison_options(parser, "--routes")
    parser.add_argument(
        "--router",
        type=str,
        default=DEFAULT_ROUTER,
        help="The router to look into, any of those that `lorary eval` knows",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report"), help="Folder for the page and its numbers"
    )
    parser.add_argument("--title", type=str | None, help="Heading of the page")
    parser.add_argument(
        "--traced-examples", type=int, default=4, help="Most examples per task whose routing is followed"
    )
    parser.add_argument(
        "--transfer-examples",
        type=int,
        default=4,
        help="Most examples per task on which every expert is tried; 0 leaves that out",
    )
    parser.add_argument("--num-samples", type=int, default=6, help="Tasks of which a sample is shown")


def run(options: Namespace) -> int:
    """Measure everything, write the page, and say where it is."""
    from lorary.cli.commands.report.gather import gather_report
    from lorary.cli.comparison.prepare import prepare_comparison
    from lorary.reports import write_report_html, write_report_json

    check_sizes(options)
    check_out(options.out, options.library)
    library = model_options.open_filled_library(options.library)
    config = model_options.read_router_options(options, options.router, list(library), with_tasks=True)
    found = prepare_comparison(options, options.router)
    try:
        report, transfer = gather_report(found, options.router, config, options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "a report that was stopped keeps no numbers; the library is as it was"
        ) from None
    assert report.result is not None
    report.result.to_json(options.out / "results.json")
    if transfer is not None:
        transfer.to_json(options.out / "transfer.json")
    write_report_json(options.out / "report.json", report)
    write_report_html(options.out / "report.html", report)
    files = ["results.json", "report.json", *(["transfer.json"] if transfer is not None else [])]
    print_line(f"page: {options.out / 'report.html'}  numbers: {', '.join(files)}")
    print_next("lorary", "generate", options.library, "PROMPT", "--router", options.router, "--show-experts")
    return 0


def check_sizes(options: Namespace) -> None:
    """Refuse sizes that make no report.

    Raises:
        ValueError: naming the option.
    """
    for name, least in (("traced_examples", 1), ("transfer_examples", 0), ("num_samples", 0)):
        if options[name] < least:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} must be at least {least}, found {quote(options[name])}")
