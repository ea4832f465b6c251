"""Print the quickstart's outcome: one table, some answers, the written files and the next command."""

from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lorary.cli.commands.quickstart.outcome import Outcome
from lorary.cli.commands.quickstart.plan import METRIC, ROUTER, QuickstartPlan
from lorary.cli.commands.quickstart.reading import read_result
from lorary.cli.console import open_console, print_next
from lorary.cli.grids import print_grid
from lorary.evaluation.route_text import describe_routes
from lorary.files import escape, say_count
from lorary.reports import result_grid
from lorary.reports.routed_sample import RoutedSample
from lorary.reports.routing_html import keep_visible

COLOURS = (
    "cyan",
    "magenta",
    "green",
    "yellow",
    "blue",
    "red",
    "bright_cyan",
    "bright_magenta",
    "bright_green",
    "bright_yellow",
)
NUM_SHOWN = 3


def show_outcome(plan: QuickstartPlan, outcome: Outcome, out: Path) -> None:
    """Print the outcome."""
    console = open_console()
    names = list(plan.tasks)
    console.print()
    print_grid(result_grid(outcome.result, METRIC))
    console.print()
    console.print(Text(describe_routes(outcome.result.routes), style="dim"))
    console.print()
    console.print(Text(read_result(plan, outcome.result)))
    console.print()
    console.print(Text(f"Answers with {ROUTER}, the default router, and the chosen experts:"))
    console.print()
    for sample in outcome.samples:
        _show_sample(console, sample, names)
    console.print(
        Text(f"library   {out / 'library'}  ({say_count(len(names), 'expert')}, each a PEFT adapter folder)")
    )
    console.print(Text(f"numbers   {out / 'results.json'}"))
    console.print(
        Text(f"pictures  {out / 'routing.html'}  {out / 'routing.png'}, .svg, .pdf  (of the {ROUTER} router)")
    )
    console.print(
        Text(
            f"took {outcome.seconds:.0f} s; the next call shows this at once, unless --fresh is given",
            style="dim",
        )
    )
    prompt = "Write the number in English words. 42"
    print_next("lorary", "generate", str(out / "library"), prompt, "--template", "plain", "--show-experts")


def _show_sample(console: Console, sample: RoutedSample, names: list[str]) -> None:
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    totals: dict[str, float] = defaultdict(float)
    answer = Text("  answer    ")
    for token in sample.answer:
        for name, share in token.experts:
            totals[name] += share / len(sample.answer)
        best = max(token.experts, key=lambda pair: pair[1])[0]
        answer.append(escape(token.text), style=colours[best])
    console.print(Text(escape(sample.task), style="bold"))
    question = escape("".join(token.text for token in sample.prompt)).replace("\n", " ").strip()
    console.print(Text(f"  question  {question}"))
    if sample.is_right is not None:
        answer.append("  ✓ right" if sample.is_right else "  ✗ wrong", style="bold")
    console.print(answer)
    if sample.right and not sample.is_right:
        console.print(Text(f"  right     {escape(sample.right)}"))
    used = Text("  experts   ")
    for name, share in keep_visible(sorted(totals.items(), key=lambda pair: -pair[1])[:NUM_SHOWN]):
        used.append(f"{name} {share:.0%}  ", style=colours[name])
    console.print(used)
    console.print()
