"""Compare warm and cold starts of a router that is trained over experts (mixture of experts).

    python examples/moe_start.py DATA runs/library --num-tasks 8 --max-tokens 9600 --scales 1 4

The experts are some of those that examples/equal_tokens.py trained into OUT/library, and are not changed.
Every router sees the same tokens in the same order. Losses are those of validation examples, after the first
steps and after the last, and "most used" is the share of one expert. Continues where an earlier call stopped.
"""

import argparse
from pathlib import Path

from equal_tokens import choose_tasks
from modular_arms import follow
from natural_instructions import LONGEST, read_tasks, show_bar
from rich.console import Console

import lorary
from lorary.data import find_template
from lorary.facts.moe_start import find_start_rows
from lorary.library import Library
from lorary.reports import render_markdown, render_table
from lorary.reports.tables import Cell, Grid, Row
from lorary.training import MoeConfig, TrainConfig, prepare_examples, train_moe
from lorary.training.objectives.moe_config import WARM_STARTS


def main() -> None:
    """Train a router from each start, and print the losses."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--num-tasks", type=int, default=43, help="and experts, evenly spaced in the list")
    parser.add_argument("--max-tokens", type=int, default=48_000, help="seen tokens of all tasks together")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--kinds", nargs="+", choices=WARM_STARTS[1:], default=WARM_STARTS[1:])
    parser.add_argument("--scales", nargs="+", type=float, default=[1, 4], help="start_scale of warm starts")
    parser.add_argument("--validate-every", type=int, default=5, help="steps")
    parser.add_argument("--num-validation", type=int, default=4, help="validation examples per task")
    args = parser.parse_args()
    base = lorary.load_base()
    library = Library.open(str(args.out / "library"))
    tasks = choose_tasks(read_tasks(args.data), args.num_tasks)
    examples = prepare_examples(
        base.tokenizer,
        tasks,
        find_template("plain"),
        max_length=LONGEST,
        truncation="skip",
        max_validation_examples=args.num_validation,
    )
    experts = {name: library[name] for name in tasks}
    train = TrainConfig(
        max_tokens=args.max_tokens,
        batch_size=args.batch_size,
        tokens_per_pass=4096,
        max_validation_examples=args.num_validation,
        validate_every=args.validate_every,
    )
    starts = {"cold": MoeConfig(train=train, warm_start="none")}
    for kind in args.kinds:
        for scale in args.scales:
            config = MoeConfig(train=train, warm_start=kind, start_scale=scale)
            starts[f"{kind}, start_scale {scale:g}"] = config
    rows = []
    for name, config in starts.items():
        with show_bar(name) as show:
            found = train_moe(
                base,
                experts,
                examples,
                config,
                args.out / "moe-runs" / name.replace(" ", "-").replace(",", ""),
                start=find_start_rows(base, experts, examples, config.warm_start),
                on_progress=follow(show),
            )
        curve = found.progress.validation_curve
        cells = [f"{curve[0][1]:.3f}", f"{curve[-1][1]:.3f}", f"{max(found.usage.average().values()):.2f}"]
        rows.append(Row(label=name, cells=tuple(Cell(text=text) for text in cells)))
    grid = Grid(
        title=f"validation loss of routers over {len(tasks)} experts, {args.max_tokens:,} tokens each",
        columns=(f"after {args.validate_every} steps", "at the end", "most used"),
        rows=tuple(rows),
    )
    console = Console()
    console.print(render_table(grid, console.width))
    (args.out / "moe-start.md").write_text(render_markdown(grid))


if __name__ == "__main__":
    main()
