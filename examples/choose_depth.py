"""How many layers, and how many tokens of a prompt, the calibrated router needs for its choice.

    python examples/choose_depth.py DATA runs/library library residual

With fewer the first token comes sooner (python -m bench.first_token). This script measures the cost in loss,
on the experts and the cases of examples/choose_doubt.py, which are validation examples only. Prompts are read
for their scores at all depths; then each candidate costs one forward pass. Prints how often the task's own
expert has the highest score where it may be chosen, mean losses, and differences to all layers and tokens
with paired standard errors.
"""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from choose_doubt import load, make_parser, weigh
from doubt_candidates import Scored, choose_by, score
from doubt_items import SETS, read_cases
from rich.console import Console
from rich.table import Table

from lorary.assembly import RoutedModel
from lorary.routing import CalibratedConfig

DEPTHS = (1.0, 0.5, 0.25, 0.2, 0.1)
# Options depth and most_tokens.
CANDIDATES = (*((depth, None) for depth in DEPTHS), (1.0, 32), (0.25, 32), (0.2, 32))


def main() -> None:
    """Score, weigh and print."""
    args = make_parser(__doc__).parse_args()
    for name in args.libraries:
        model = load(name, args)
        cases = read_cases(model.tokenizer, args.data, list(model.names), args.num_tasks)
        found = {most: score(model, cases, DEPTHS, most) for most in {most for _, most in CANDIDATES}}
        show(name, model, found)


def show(name: str, model: RoutedModel, found: Mapping[int | None, Sequence[Scored]]) -> None:
    """Measure the loss under each candidate, and print a table of a library."""
    table = Table(title=f"{name}: {len(found[None])} cases")
    for column in ("layers", "tokens", "own expert first", *SETS, "mean of sets", "less all"):
        table.add_column(column, justify="right")
    everything: list[float] = []
    for depth, most in CANDIDATES:
        config, scored = CalibratedConfig(depth=depth, most_tokens=most), found[most]
        losses = weigh(model, scored, [choose_by(model, each, config) for each in scored])
        everything = everything or losses
        by_set = [
            mean(loss for loss, each in zip(losses, scored, strict=True) if each.case.set == own)
            for own in SETS
        ]
        pairs = [one - other for one, other in zip(losses, everything, strict=True)]
        table.add_row(
            f"{depth:g}",
            "all" if most is None else f"{most}",
            count_first(model, scored, depth),
            *(f"{loss:.3f}" for loss in by_set),
            f"{mean(by_set):.3f}",
            f"{mean(pairs):+.3f} ± {stdev(pairs) / len(pairs) ** 0.5:.3f}",
        )
    Console(width=150).print(table)


def count_first(model: RoutedModel, scored: Sequence[Scored], depth: float) -> str:
    """Count the cases whose own expert may be chosen and has the highest score."""
    own = [each for each in scored if each.case.away is None and each.case.own in model.names]
    hits = sum(model.names[each.places[int(each.scores[depth].argmax())]] == each.case.own for each in own)
    return f"{hits} of {len(own)}"


if __name__ == "__main__":
    main()
