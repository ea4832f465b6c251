"""Choose the options of calibrated routing for requests that no expert clearly fits.

    python examples/choose_doubt.py DATA runs/library library residual

Takes the experts of examples/equal_tokens.py: plain ones with a general expert as the fallback (library), and
others on top of a general expert (residual). Prompts are read once for their scores; then every candidate is
a table of weights, and costs one forward pass over the examples. The choice uses validation examples only: of
the experts' tasks with definitions and without, of the same tasks with the task's own expert removed, and of
tasks that no expert saw (other-unseen, which are not those of the results). Losses are kept in
doubt-LIBRARY.json, so that a second call continues. Prints mean losses, and differences to "all" with
standard errors.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev

import torch
from doubt_candidates import CANDIDATES, FIXED, Scored, choose, score
from doubt_items import SETS, read_cases
from rich.console import Console
from rich.table import Table

import lorary
from lorary.assembly import RoutedModel
from lorary.evaluation.route_experts import KnownExperts, RouteExperts
from lorary.evaluation.scoring import score_targets
from lorary.library import Library
from lorary.passes.layout import find_layout


def main() -> None:
    """Score, weigh, measure and print."""
    args = parse_args(__doc__)
    found = {name: measure(name, args) for name in args.libraries}
    for name, losses in found.items():
        show(name, losses)


def parse_args(description: str | None) -> argparse.Namespace:
    """Read the arguments of a script that measures these cases on libraries."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("libraries", nargs="+", choices=("library", "residual"))
    parser.add_argument("--num-tasks", type=int, default=12, help="of each set; an example each")
    return parser.parse_args()


def measure(name: str, args: argparse.Namespace) -> Mapping[str, list[float]]:
    """Return each candidate's loss of every case of one library; those in its file are not measured again."""
    file = args.out / f"doubt-{name}-{args.num_tasks}.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    wanted = {
        **{key: json.dumps(asdict(config)) for key, config in CANDIDATES.items()},
        **dict.fromkeys(FIXED, ""),
    }
    losses = {
        key: known["losses"][key]
        for key, config in wanted.items()
        if known.get("configs", {}).get(key) == config
    }
    if missing := [key for key in wanted if key not in losses]:
        model = load(name, args.out)
        scored = score(model, read_cases(model.tokenizer, args.data, list(model.names), args.num_tasks))
        sets, done = [each.case.set for each in scored], {}
        for key in missing:
            chosen = tuple(choose(model, each, key) for each in scored)
            losses[key] = done.get(chosen) or weigh(model, scored, chosen)
            done[chosen] = losses[key]
            Console(stderr=True).print(f"{name}: {key} {mean(losses[key]):.3f}")
            file.write_text(json.dumps({"configs": wanted, "losses": losses, "sets": sets}))
    return {**losses, "sets": json.loads(file.read_text())["sets"]}


def load(name: str, out: Path) -> RoutedModel:
    """Load a library of examples/equal_tokens.py; plain experts get the multi-task LoRA as general expert."""
    general = {} if name == "residual" else {"general": Library.open(str(out / "controls"))["multi-task"]}
    return lorary.load_model("smollm2-135m", Library.open(str(out / name)), dtype=torch.float32, **general)


def weigh(model: RoutedModel, scored: Sequence[Scored], chosen: Sequence[KnownExperts]) -> list[float]:
    """Return the mean loss of each case's target tokens under given experts."""
    losses = [0.0] * len(scored)
    for name in SETS:
        members = [index for index, each in enumerate(scored) if each.case.set == name]
        items = [scored[index].case.item for index in members]
        known = {item.tokens.prompt_ids: chosen[index] for item, index in zip(items, members, strict=True)}
        layout = find_layout(model.stack, max(len(item.tokens) for item in items), 1024)
        experts = RouteExperts(stack=model.stack, by_prompt=known)
        found = score_targets(
            experts, items, layout, tokens_per_pass=2048, row_length=1024, report=lambda count: None
        )
        for index, item, each in zip(members, items, found, strict=True):
            losses[index] = each.loss / len(item.tokens.target_ids)
    return losses


def show(name: str, losses: Mapping[str, list[float]]) -> None:
    """Print mean losses by set, and paired differences of the mean of all sets to the current default's."""
    table = Table(title=name)
    for column in ("candidate", *SETS, "mean of sets", "less all"):
        table.add_column(column, justify="left" if column == "candidate" else "right")
    sets = losses["sets"]
    for key in (*CANDIDATES, *FIXED):
        by_set = {
            each: [loss for loss, own in zip(losses[key], sets, strict=True) if own == each] for each in SETS
        }
        pairs = [one - other for one, other in zip(losses[key], losses["all"], strict=True)]
        cells = [f"{mean(rows):.3f}" for rows in by_set.values()]
        error = stdev(pairs) / len(pairs) ** 0.5
        total = mean(mean(rows) for rows in by_set.values())
        table.add_row(key, *cells, f"{total:.3f}", f"{mean(pairs):+.3f} ± {error:.3f}")
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
