"""The list of protocols, a plan and the final table, on the screen and as JSON."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lorary.cli.console import print_next, print_table
from lorary.cli.help_text import wrap_command
from lorary.cli.printing import print_facts, print_json, print_line
from lorary.cli.protocols.plan import TOKENS_PER_PASS, StagePlan, plan_stage
from lorary.cli.protocols.resolve import ReadyProtocol
from lorary.cli.protocols.results import COLUMNS, MEAN, NUMERIC, Cell, list_sources, tabulate_cells
from lorary.cli.protocols.shipped import find_protocol, list_shipped
from lorary.cli.protocols.state import RunState
from lorary.files import say_count
from lorary.training.memory import say_gigabytes

PLAN = ("stage", "tokens trained", "tokens read", "hours", "memory", "disk", "")


def print_protocols(*, is_json: bool = False) -> None:
    """List the protocols that come with lorary."""
    found = [find_protocol(name) for name in list_shipped()]
    if is_json:
        print_json(
            [
                {"name": each.name, "title": each.title, "paper": each.paper, "scales": list(each.scales)}
                for each in found
            ]
        )
        return
    print_table(("protocol", "what it is", "paper"), [(each.name, each.title, each.paper) for each in found])
    print_next("lorary", "run", found[0].name, "--scale", "tiny", "--dry-run")


def print_plan(ready: ReadyProtocol, state: RunState, tflops: float | None, *, is_json: bool) -> None:
    """Print every stage with its command and its estimated cost."""
    plans = {found.stage.name: plan_stage(found, ready.scale, tflops) for found in ready.stages}
    if is_json:
        stages = [
            {
                "name": found.stage.name,
                "does": found.stage.does,
                "needs": list(found.stage.needs),
                "command": shlex.join(("lorary", *found.words)),
                "done": state.is_done(found),
                **asdict(plans[found.stage.name]),
            }
            for found in ready.stages
        ]
        print_json(
            {
                "protocol": ready.protocol.name,
                "scale": ready.scale.name,
                "out": str(ready.out),
                "stages": stages,
            }
        )
        return
    protocol = ready.protocol
    facts = [
        ("protocol", f"{protocol.title} ({protocol.paper})"),
        ("about", protocol.about),
        ("scale", ready.scale.name),
        ("folder", str(ready.out)),
    ]
    print_facts([(label, " ".join(text.split())) for label, text in facts if text])
    if ready.scale.model is not None:
        print_facts(
            [("base", f"a random model of kind {ready.scale.model} is created in {ready.out / 'base'}")]
        )
    print_line("")
    for number, found in enumerate(ready.stages, 1):
        needs = f" (after {', '.join(found.stage.needs)})" if found.stage.needs else ""
        print_line(f"{number}. {found.stage.name}: {found.stage.does}{needs}")
        print_command(found.words)
    print_line("")
    rows = [
        _describe(found.stage.name, plans[found.stage.name], state.is_done(found)) for found in ready.stages
    ]
    print_table(PLAN, [*rows, _describe("all", _add(list(plans.values())), False)], PLAN[1:6])
    speed = tflops or ready.scale.tflops
    print_line(
        f"estimates at {speed:g} TFLOP/s, with {TOKENS_PER_PASS:,} tokens per pass; memory is that of the "
        "largest stage, with the base model and its activations; the base model's own files are not counted"
    )


def print_command(words: Sequence[str], *, stderr: bool = False) -> None:
    """Print a command: on one line, or on a terminal on several lines that can be typed as they are."""
    line = f"  lorary {shlex.join(words)}"
    stream = sys.stderr if stderr else sys.stdout
    is_terminal = stream is not None and stream.isatty()
    shown = wrap_command(line, shutil.get_terminal_size().columns - 2) if is_terminal else line
    for part in shown.splitlines():
        print_line(part, stderr=stderr)


def _add(plans: Sequence[StagePlan]) -> StagePlan:
    total = {
        key: sum(getattr(plan, key) for plan in plans)
        for key in ("train_tokens", "read_tokens", "hours", "disk")
    }
    return StagePlan(**total, memory=max(plan.memory for plan in plans))


def _describe(name: str, plan: StagePlan, is_done: bool) -> tuple[str, ...]:
    return (
        name,
        _say_tokens(plan.train_tokens),
        _say_tokens(plan.read_tokens),
        f"{plan.hours:.1f}" if plan.hours >= 0.05 else ("<0.1" if plan.hours else ""),
        say_gigabytes(int(plan.memory)) if plan.memory else "",
        say_gigabytes(int(plan.disk)) if plan.disk else "",
        "done" if is_done else "",
    )


def _say_tokens(number: float) -> str:
    return f"{number / 1e6:,.1f} M" if number >= 1e5 else f"{number:,.0f}" if number else ""


def print_cells(ready: ReadyProtocol, cells: Sequence[Cell], path: Path, *, is_json: bool) -> None:
    """Print the means of all rows; the tasks of each are in the file."""
    if is_json:
        print_json(
            {
                "protocol": ready.protocol.name,
                "scale": ready.scale.name,
                "table": [cell._asdict() for cell in cells],
            }
        )
        return
    if not cells:
        print_line(f"all {say_count(len(ready.stages), 'stage')} are finished; the protocol has no table")
        return
    means = [cell for cell in cells if cell.task == MEAN]
    print_table(COLUMNS, tabulate_cells(means, is_comparable=ready.scale.model is None), NUMERIC)
    for line in list_sources(cells):
        print_line(line)
    print_line(f"each task: {path}")
    if ready.scale.model is not None:
        print_line(f"scale {ready.scale.name} has a random base model: its results have no meaning")
    elif all(cell.published is None for cell in cells):
        print_line(f"the published numbers are not in the protocol: see {ready.protocol.paper}")
