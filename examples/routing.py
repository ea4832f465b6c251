"""Compare routers on a library's own tasks, on these without their definitions, and on tasks no expert saw.

    python examples/routing.py DATA runs/first-library seen bare unseen --num-test 16

Takes the library and the multi-task expert that examples/natural_instructions.py trained into that folder.
Prints for each set of tasks the routes' means and their paired differences to the rivals; writes
routing-SET.json and .md there. --stored prints again what an earlier call measured, with other --rivals if
you like. The sets validation, validation-bare and other-unseen are for making choices.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from natural_instructions import LONGEST, read_tasks, show_bar
from rich.console import Console
from task_material import provide_material

import lorary
from lorary.assembly import RoutedModel
from lorary.data import PlainTemplate, Task
from lorary.evaluation import (
    EvalConfig,
    Result,
    Route,
    compare_routes,
    difference_grid,
    evaluate,
    render_markdown,
    render_table,
    result_grid,
)
from lorary.library import Library
from lorary.routing import ArrowConfig, CalibratedConfig, RetrievalConfig, RouterConfig
from lorary.transforms import random_expert

SETS = ("seen", "bare", "unseen", "validation", "validation-bare", "other-unseen")
MULTIPLE_CHOICE = {"arc-challenge": "arc/ARC-Challenge.validation.jsonl.xz", "mmlu": "mmlu/test.jsonl.xz"}
ROUTERS: Mapping[str, tuple[str, RouterConfig | None, str]] = {
    "uniform": ("uniform", None, "outputs"),
    "uniform factors": ("uniform", None, "factors"),
    "arrow": ("arrow", ArrowConfig(), "outputs"),
    "arrow factors": ("arrow", ArrowConfig(), "factors"),
    "spectr": ("spectr", None, "outputs"),
    "lag": ("lag", None, "outputs"),
    "mean_activation": ("mean_activation", None, "outputs"),
    "phatgoose": ("phatgoose", None, "outputs"),
    "retrieval": ("retrieval", None, "outputs"),
    "retrieval, top-3": ("retrieval", RetrievalConfig(top_k=3), "outputs"),
    "retrieval, top-3, factors": ("retrieval", RetrievalConfig(top_k=3), "factors"),
    "calibrated": ("calibrated", CalibratedConfig(), "outputs"),
    "calibrated, top-1": ("calibrated", CalibratedConfig(top_k=1), "outputs"),
    "calibrated, top-4": ("calibrated", CalibratedConfig(top_k=4), "outputs"),
    "calibrated, all": ("calibrated", CalibratedConfig(top_k=43), "outputs"),
    "calibrated, temperature 0.1": ("calibrated", CalibratedConfig(temperature=0.1), "outputs"),
    "calibrated, temperature 0.3": ("calibrated", CalibratedConfig(temperature=0.3), "outputs"),
    "calibrated, last_share 0": ("calibrated", CalibratedConfig(last_share=0.0), "outputs"),
    "calibrated, ridge 1e6": ("calibrated", CalibratedConfig(ridge=1e6), "outputs"),
    "calibrated factors": ("calibrated", CalibratedConfig(), "factors"),
}


def main() -> None:
    """Evaluate the routes on each set of tasks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument("--num-test", type=int, default=16, help="examples per task")
    parser.add_argument("--metrics", nargs="+", default=["loss"])
    parser.add_argument("--routers", nargs="*", choices=ROUTERS, default=list(ROUTERS))
    parser.add_argument("--rivals", nargs="+", default=["uniform", "multi-task"])
    parser.add_argument("--stored", action="store_true", help="print what an earlier call measured")
    parser.add_argument("--suffix", default="", help="of the names of the files that are written")
    args = parser.parse_args()
    if args.stored:
        for name in args.sets:
            show(Result.from_json(args.out / f"routing-{name}{args.suffix}.json"), name, args)
        return
    experts = Library.open(str(args.out / "library"))
    multi_task = Library.open(str(args.out / "controls"))["multi-task"]
    controls = {"multi-task": multi_task, "random": random_expert(experts)}
    model = lorary.load_model("smollm2-135m", experts, router=None, controls=controls)
    provide_material(model, experts, read_tasks(args.data), {ROUTERS[name][0] for name in args.routers})
    for name in args.sets:
        compare(model, name, args)


def find_tasks(data: Path, name: str) -> dict[str, Task]:
    """Read one set of tasks; every second task that no expert saw is kept for making choices."""
    seen = read_tasks(data)
    if "unseen" not in name:
        return seen
    files = sorted((data / "natural_instructions" / "tasks").iterdir())
    files = [file for file in files if file.name.split(".json")[0] not in seen]
    chosen = files[::2] if name == "other-unseen" else files[1::2]
    tasks = [lorary.read_task({"test": file}, name=file.name.split(".json")[0]) for file in chosen]
    if name == "unseen":
        tasks += [lorary.read_task({"test": data / file}, name=key) for key, file in MULTIPLE_CHOICE.items()]
        tasks.append(lorary.read_task({"test": data / "bbh" / "test.jsonl.xz"}, name="bbh"))
    return {task.name: task for task in tasks}


def find_routes(tasks: Mapping[str, Task], model: RoutedModel, routers: list[str]) -> list[Route]:
    """List base, controls, the routers and, where every task has an expert, the oracle."""
    routes = [Route(name="base")]
    for control in ("random", "multi-task"):
        routes.append(Route(name=control, expert_of=dict.fromkeys(tasks, control)))
    for name in routers:
        router, options, combine = ROUTERS[name]
        routes.append(Route(name=name, router=router, options=options, combine=combine))
    if set(tasks) <= set(model.names):
        routes.append(Route(name="oracle", expert_of={name: name for name in tasks}))
    return routes


def compare(model: RoutedModel, name: str, args: argparse.Namespace) -> None:
    """Evaluate one set; write and show what came out."""
    tasks = find_tasks(args.data, name)
    config = EvalConfig(
        metrics=tuple(args.metrics),
        split="validation" if name.startswith("validation") else "test",
        num_examples=args.num_test,
        max_length=2 * LONGEST if "unseen" in name else LONGEST,
        truncation="prompt-middle" if "unseen" in name else "skip",
    )
    with show_bar(name) as progress:
        result = evaluate(
            model,
            tasks,
            find_routes(tasks, model, args.routers),
            PlainTemplate(with_definition=not name.endswith("bare")),
            config,
            on_progress=lambda event: progress(event.num_done, event.num_total),
        )
    result.to_json(args.out / f"routing-{name}{args.suffix}.json")
    show(result, name, args)


def show(result: Result, name: str, args: argparse.Namespace) -> None:
    """Print and write one set's tables."""
    console, text = Console(), []
    for metric in result.metrics:
        grids = [difference_grid(compare_routes(result, metric, rival)) for rival in args.rivals]
        for grid in (result_grid(result, metric, 3), *grids):
            console.print(render_table(grid, width=console.width))
            text.append(render_markdown(grid))
    (args.out / f"routing-{name}{args.suffix}.md").write_text("\n\n".join(text) + "\n")


if __name__ == "__main__":
    main()
