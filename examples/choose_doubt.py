"""Choose the options of calibrated routing for requests that no expert clearly fits.

    python examples/choose_doubt.py DATA runs/library library residual

Takes the experts of examples/equal_tokens.py: plain ones with the LoRA of all tasks as the fallback (library;
--general names another, such as a merge), and others on top of a general expert (residual). Prompts are read
once for their scores; then every candidate is a table of weights, and costs one forward pass over the
examples. The choice uses validation examples only: of the experts' tasks with definitions and without, of the
same tasks with the task's own expert removed, and of tasks that no expert saw (other-unseen, which are not
those of the results). Losses are kept in a file doubt-….json in runs/library, so that a second call
continues. Prints the mean number of experts that answer, mean losses, and differences to the first candidate
with standard errors.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

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
    parser = make_parser(__doc__)
    parser.add_argument("--num-examples", type=int, default=1, help="of each task")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument(
        "--candidates",
        nargs="+",
        default=[*CANDIDATES, *FIXED],
        help="if not given, all; differences are to the first",
    )
    args = parser.parse_args()
    found = {name: measure(name, args) for name in args.libraries}
    for name, losses in found.items():
        show(name, args.candidates, losses)


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Make the parser of a script that measures these cases on libraries."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("libraries", nargs="+", choices=("library", "residual"))
    parser.add_argument(
        "--general",
        default="controls/multi-task",
        help="of OUT, LIBRARY/EXPERT: the fallback of plain experts",
    )
    parser.add_argument("--num-tasks", type=int, default=12, help="of each set")
    return parser


def measure(name: str, args: argparse.Namespace) -> Mapping[str, Any]:
    """Return each candidate's losses on one library's cases; those in its file are not measured again."""
    fallback = Path(args.general).name if name == "library" else "general"
    parts = (
        name,
        fallback,
        f"{args.num_tasks}x{args.num_examples}",
        *(args.sets if args.sets != SETS else ()),
    )
    file = args.out / f"doubt-{'-'.join(parts).replace(' ', '_')}.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    wanted = {
        **{key: json.dumps(asdict(config)) for key, config in CANDIDATES.items()},
        **dict.fromkeys(FIXED, ""),
    }
    kept = [key for key in known.get("losses", ()) if known["configs"][key] == wanted.get(key)]
    losses, used = ({key: known[part][key] for key in kept} for part in ("losses", "used"))
    if missing := [key for key in args.candidates if key not in losses]:
        model = load(name, args)
        cases = read_cases(
            model.tokenizer, args.data, list(model.names), args.num_tasks, args.num_examples, args.sets
        )
        scored = score(model, cases)
        sets, done = [each.case.set for each in scored], {}
        for key in missing:
            chosen = tuple(choose(model, each, key) for each in scored)
            losses[key] = done.get(chosen) or weigh(model, scored, chosen)
            used[key] = mean(sum(weight > 0 for weight in weights) for _, weights in chosen)
            done[chosen] = losses[key]
            Console(stderr=True).print(f"{name}: {key} {mean(losses[key]):.3f}")
            file.write_text(json.dumps({"configs": wanted, "losses": losses, "used": used, "sets": sets}))
    return json.loads(file.read_text())


def load(name: str, args: argparse.Namespace) -> RoutedModel:
    """Load a library of examples/equal_tokens.py; plain experts get a general expert as their fallback."""
    place = args.out / args.general
    general = {} if name == "residual" else {"general": Library.open(str(place.parent))[place.name]}
    experts = Library.open(str(args.out / name))
    return lorary.load_model("smollm2-135m", experts, dtype=torch.bfloat16, **general)


def weigh(model: RoutedModel, scored: Sequence[Scored], chosen: Sequence[KnownExperts]) -> list[float]:
    """Return the mean loss of each case's target tokens under given experts."""
    losses = [0.0] * len(scored)
    for name in dict.fromkeys(each.case.set for each in scored):
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


def show(name: str, candidates: Sequence[str], found: Mapping[str, Any]) -> None:
    """Print how many experts answer, mean losses by set, and paired differences to the first candidate."""
    table = Table(title=name)
    names = list(dict.fromkeys(found["sets"]))
    for column in ("candidate", "experts", *names, "mean of sets", "difference"):
        table.add_column(column, justify="left" if column == "candidate" else "right")
    losses, sets = found["losses"], found["sets"]
    for key in candidates:
        by_set = {
            each: [loss for loss, own in zip(losses[key], sets, strict=True) if own == each] for each in names
        }
        pairs = [one - other for one, other in zip(losses[key], losses[candidates[0]], strict=True)]
        cells = [f"{mean(rows):.3f}" for rows in by_set.values()]
        error = stdev(pairs) / len(pairs) ** 0.5
        total = mean(mean(rows) for rows in by_set.values())
        table.add_row(
            key, f"{found['used'][key]:.1f}", *cells, f"{total:.3f}", f"{mean(pairs):+.3f} ± {error:.3f}"
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
