"""Measure all parts of a report, and write its page."""

from jsonargparse import Namespace

from lorary.cli.commands.eval.report import summarize_result
from lorary.cli.commands.report.gather import gather_report
from lorary.cli.comparison.prepare import prepare_comparison
from lorary.cli.console import print_next
from lorary.cli.default_router import choose_default_router
from lorary.cli.filled_library import look_routed, open_filled_library
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_json, print_line
from lorary.cli.repeat import repeat_base, repeat_prompt_template, repeat_router
from lorary.cli.router_configs import read_router_options
from lorary.cli.router_options import list_ready_routers
from lorary.files import quote
from lorary.reports.library_report import write_report_html, write_report_json


def run(options: Namespace) -> int:
    """Measure all parts, write the page, and print its path."""
    check_sizes(options)
    check_out(options.out, options.library)
    library = open_filled_library(options.library)
    names = list(look_routed(options, library))
    options.router = options.router or choose_default_router(library)
    config = read_router_options(options, options.router, names, with_tasks=True)
    found = prepare_comparison(options, options.router)
    try:
        report, transfer = gather_report(found, options.router, config, options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("an interrupted report keeps no results; the library is unchanged") from None
    assert report.result is not None
    report.result.to_json(options.out / "results.json")
    if transfer is not None:
        transfer.to_json(options.out / "transfer.json")
    write_report_json(options.out / "report.json", report)
    write_report_html(options.out / "report.html", report)
    if options.json:
        written = {"page": "report.html", "results": "results.json", "report": "report.json"}
        written |= {"transfer": "transfer.json"} if transfer is not None else {}
        print_json(
            {
                "files": {name: str(options.out / file) for name, file in written.items()},
                "facts": dict(report.facts),
                "experts": list(report.names),
                "results": summarize_result(report.result, options.against),
            }
        )
        return 0
    files = ["results.json", "report.json", *(["transfer.json"] if transfer is not None else [])]
    print_line(f"page: {options.out / 'report.html'}  numbers: {', '.join(files)}")
    # Routers that need tasks cannot be built by ``lorary generate``.
    is_ready = options.router in list_ready_routers()
    router = repeat_router(options, options.router, type(config)) if is_ready else []
    words = [*router, *repeat_base(options), *repeat_prompt_template(options), "--show-experts"]
    print_next("lorary", "generate", options.library, "PROMPT", *words)
    return 0


def check_sizes(options: Namespace) -> None:
    """Refuse sizes that are too small.

    Raises:
        ValueError: with the option.
    """
    for name, least in (("traced_examples", 1), ("transfer_examples", 0), ("num_samples", 0)):
        if options[name] < least:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} must be at least {least}, found {quote(options[name])}")
