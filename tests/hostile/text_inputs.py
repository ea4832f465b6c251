"""Recipes, results and outcomes of the quickstart."""

import json
import math
from pathlib import Path

from lorary.adaptation.transfer_matrix.cell_store import CellStore
from lorary.adaptation.transfer_matrix.matrix import Cell
from lorary.cli.commands.generate.prompt_file import read_prompts
from lorary.cli.commands.quickstart.outcome import Outcome, load_outcome, save_outcome
from lorary.cli.commands.quickstart.plan import QuickstartPlan
from lorary.evaluation import Result
from lorary.experts import Expert
from lorary.reports import render_markdown, render_table, result_grid
from lorary.reports.routed_sample import RoutedSample, RoutedToken
from lorary.transforms import merge_by_recipe, read_recipe
from tests.hostile.reader import check_text
from tests.hostile.tiny import draw_experts

RECIPE = """
merge_method: ties
models:
  - model: law
    parameters: {weight: 0.5, density: 0.4}
  - model: poetry
    parameters:
      weight: [0.2, 0.8]
parameters:
  scale: 1.5
  density:
    - {filter: q_proj, value: 0.5}
    - value: 0.3
dtype: float32
rank: 2
"""


def make_recipe_file(folder: Path) -> None:
    """Write a recipe with every kind of setting."""
    (folder / "recipe.yaml").write_text(RECIPE)


def read_and_merge(folder: Path) -> Expert:
    """Read a recipe and do what it says."""
    return merge_by_recipe(draw_experts(), read_recipe(folder / "recipe.yaml"))


def make_result(folder: Path) -> None:
    """Write a result of two tasks and routes."""
    scores = {
        (task, route, metric): (0.5, 0.25, 1.0)
        for task in ("dates", "prices")
        for route in ("base", "arrow")
        for metric in ("loss", "exact_match")
    }
    header = {"seeds": {"data": 0}, "packages": {"torch": "2"}}
    Result(
        scores,
        (header,),
        {"usage": {"arrow": {"dates": [0.5, 0.5]}}},
        example_ids={(task, metric): ("a1", "b2", "c3") for task, _, metric in scores},
    ).to_json(folder / "result.json")


def read_result_file(folder: Path) -> Result:
    """Read a result."""
    return Result.from_json(folder / "result.json")


def check_result(result: Result) -> None:
    """Assert that its pages can be written."""
    for metric in result.metrics:
        render_table(result_grid(result, metric))
        check_text(render_markdown(result_grid(result, metric, 3)))
    check_text(*result.tasks, *result.routes)


def make_cell(folder: Path) -> None:
    """Write a finished cell of a transfer matrix."""
    CellStore(folder).save("key", Cell(before=4.5, after=1.25, num_steps=3, num_tokens=70))


def read_cell(folder: Path) -> Cell | None:
    """Read it."""
    return CellStore(folder).load("key")


def check_cell(cell: Cell | None) -> None:
    """Assert that its numbers are losses and counts; a cell that is not there is measured again."""
    if cell is not None:
        assert math.isfinite(cell.before) and math.isfinite(cell.after)
        assert cell.num_steps >= 0 and cell.num_tokens >= 0


def make_outcome(folder: Path) -> None:
    """Write what a quickstart keeps."""
    make_result(folder)
    token = RoutedToken("hi", (("prices", 0.5), ("iso_dates", 0.5)))
    outcome = Outcome(read_result_file(folder), (RoutedSample("dates", (token,), (token,)),), 1.5)
    save_outcome(QuickstartPlan(), outcome, folder)


def read_outcome(folder: Path) -> Outcome | None:
    """Read what a quickstart kept."""
    return load_outcome(QuickstartPlan(), folder)


def check_outcome(outcome: Outcome | None) -> None:
    """Assert that it can be shown; none means that the quickstart runs again."""
    if outcome is None:
        return
    check_result(outcome.result)
    assert isinstance(outcome.seconds, int | float)
    for sample in outcome.samples:
        for token in (*sample.prompt, *sample.answer):
            check_text(token.text, *(name for name, _ in token.experts))


def make_prompts(folder: Path) -> None:
    """Write prompts as rows, and as lines."""
    rows = [{"prompt": f"Hi q{number}", "id": number} for number in range(4)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "prompts.txt").write_text("".join(f"Hi q{number}\n" for number in range(4)))


def read_both_prompts(folder: Path) -> list[str]:
    """Read the prompts of both files."""
    files = ("prompts.jsonl", "prompts.txt")
    return [prompt.text for file in files for prompt in read_prompts(folder / file)]


def check_prompts(prompts: list[str]) -> None:
    """Check that every prompt is text."""
    assert prompts and all(prompt.strip() for prompt in prompts)
    check_text(*prompts)
