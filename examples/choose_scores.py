"""Choose how calibrated routing scores experts: what it subtracts, whitens and averages.

    python examples/choose_scores.py DATA runs/library library residual

Takes the experts of examples/equal_tokens.py. Counts how often the own expert of a task has the highest score
of all, on validation examples of the experts' tasks with definitions and without, for scores from the first
part of the layers and from all. Nothing is generated, and no test example is used. The errors are those of a
share over examples.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

import torch
from doubt_items import SOURCES
from natural_instructions import LONGEST, show_bar
from rich.console import Console
from rich.table import Table
from task_sets import configure, find_tasks, find_template_of
from torch import Tensor

import lorary
from lorary.assembly import RoutedModel
from lorary.evaluation.chosen_examples import choose_examples
from lorary.facts.reading import read_averages
from lorary.facts.requests import pad_prompts
from lorary.library import Library

DEPTHS = (1.0, 0.5, 0.25, 0.2, 0.1)
SETS = SOURCES[:2]
# Whether the random start is subtracted, the ridge, the share of the last token, the most tokens.
CANDIDATES = (
    (False, 0.01, 0.25, None),
    (False, 0.01, 0.35, None),
    (False, 0.001, 0.25, None),
    (True, 0.001, 0.35, None),
    (True, 0.001, 0.35, 32),
    (True, 0.001, 0.25, None),
    (True, 0.01, 0.25, None),
    (True, 0.01, 0.35, None),
    (True, 0.0001, 0.35, None),
)

Prompt = tuple[str, tuple[int, ...]]
"""Task and tokens."""


def main() -> None:
    """Score, count and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("libraries", nargs="+", choices=("library", "residual"))
    parser.add_argument("--num-examples", type=int, default=4, help="per task")
    args = parser.parse_args()
    for name in args.libraries:
        library = Library.open(str(args.out / name))
        model = lorary.load_model("smollm2-135m", library, router=None)
        show(name, model, read_prompts(model, args.data, args.num_examples))


def read_prompts(model: RoutedModel, data: Path, num_examples: int) -> dict[str, list[Prompt]]:
    """Read prompts of the experts' own tasks, by set."""
    found: dict[str, list[Prompt]] = {}
    for name in SETS:
        config = replace(configure(name, num_examples), max_length=LONGEST, truncation="prompt-middle")
        found[name] = []
        for task, content in find_tasks(data, name).items():
            if task in model.names:
                chosen = choose_examples(model.tokenizer, task, content, find_template_of(name), config)
                found[name] += [(task, tuple(each.prompt_ids)) for each in chosen.tokens.examples]
    return found


def show(name: str, model: RoutedModel, prompts: Mapping[str, Sequence[Prompt]]) -> None:
    """Print how often the own expert is first, a row for each candidate."""
    table = Table(title=f"{name}: {' and '.join(str(len(own)) for own in prompts.values())} prompts")
    for column in (
        "subtract_start",
        "ridge",
        "last_share",
        "tokens",
        *(f"depth {depth:g}" for depth in DEPTHS),
    ):
        table.add_column(column, justify="right")
    with show_bar(name) as progress:
        for done, candidate in enumerate(CANDIDATES):
            hits = [score(model, candidate, own) for own in prompts.values()]
            cells = [" · ".join(write_share(own[depth]) for own in hits) for depth in DEPTHS]
            subtracts, ridge, share, most = candidate
            table.add_row(str(subtracts).lower(), f"{ridge:g}", f"{share:g}", str(most or "all"), *cells)
            progress(done + 1, len(CANDIDATES))
    Console(width=150).print(table)


def score(
    model: RoutedModel,
    candidate: tuple[bool, float, float, int | None],
    prompts: Sequence[Prompt],
) -> dict[float, Tensor]:
    """Return for each depth at which prompts the own expert has the highest score."""
    subtracts, ridge, share, most = candidate
    options = {"subtract_start": subtracts, "ridge": ridge, "last_share": share, "most_tokens": most}
    router = model.router("calibrated", depth=1.0, **options).decider.router
    hits: dict[float, list[bool]] = {depth: [] for depth in DEPTHS}
    for task, tokens in prompts:
        averages = read_averages(model.stack, router, pad_prompts([tokens], model.model.device))
        for depth, own in hits.items():
            used = router.places[: ceil(depth * len(router.places))]
            scores = router.score({path: averages[path] for path in used})[0]
            own.append(model.names[int(scores.argmax())] == task)
    return {depth: torch.tensor(own, dtype=torch.float32) for depth, own in hits.items()}


def write_share(hits: Tensor) -> str:
    """Write a share in percent with its standard error."""
    return f"{100 * hits.mean():.0f} ±{100 * hits.std() / len(hits) ** 0.5:.0f}"


if __name__ == "__main__":
    main()
