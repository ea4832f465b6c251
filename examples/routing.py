"""Compare routers on a library's own tasks, on these without their definitions, and on tasks no expert saw.

    python examples/routing.py DATA runs/first-library seen bare unseen --num-test 16

Takes the library and the multi-task experts that examples/natural_instructions.py or
examples/equal_tokens.py trained into that folder. ``--library residual`` takes the latter's experts on
top of a general one instead; the names of their routes begin with "on top: ", with --general "general: ".
Prints for each set of tasks the routes' means and their paired differences to the rivals; writes routing-
SET.json and .md there. --stored prints again what an earlier call measured, with other --rivals if you
like. The sets validation, validation-bare and other-unseen are for making choices.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path

from natural_instructions import read_tasks
from task_material import provide_material
from task_sets import SETS, find_tasks, measure, show

import lorary
from lorary import Expert
from lorary.assembly import RoutedModel
from lorary.data import Task
from lorary.evaluation import Result, Route
from lorary.library import Library
from lorary.routing import ArrowConfig, CalibratedConfig, RetrievalConfig, RouterConfig
from lorary.training import GateConfig
from lorary.transforms import random_expert

CONTROLS = ("base", "random", "multi-task", "multi-task-all", "oracle")
ROUTERS: Mapping[str, tuple[str, RouterConfig | None, str]] = {
    "uniform": ("uniform", None, "outputs"),
    "uniform factors": ("uniform", None, "factors"),
    "arrow": ("arrow", ArrowConfig(), "outputs"),
    "arrow factors": ("arrow", ArrowConfig(), "factors"),
    "arrow, tied": ("arrow", ArrowConfig(tie_inputs=True), "outputs"),
    "arrow, top-1": ("arrow", ArrowConfig(top_k=1), "outputs"),
    "spectr": ("spectr", None, "outputs"),
    "lag": ("lag", None, "outputs"),
    "mean_activation": ("mean_activation", None, "outputs"),
    "phatgoose": ("phatgoose", None, "outputs"),
    "retrieval": ("retrieval", None, "outputs"),
    "retrieval, top-3": ("retrieval", RetrievalConfig(top_k=3), "outputs"),
    "retrieval, top-3, factors": ("retrieval", RetrievalConfig(top_k=3), "factors"),
    "calibrated": ("calibrated", CalibratedConfig(), "outputs"),
    "calibrated, always sure": ("calibrated", CalibratedConfig(margin=None, temperature=0.2), "outputs"),
    "calibrated, margin 0.5": ("calibrated", CalibratedConfig(margin=0.5, fallback="all"), "outputs"),
    "calibrated, top-1": ("calibrated", CalibratedConfig(top_k=1, margin=None), "outputs"),
    "calibrated, temperature 0.1": ("calibrated", CalibratedConfig(temperature=0.1), "outputs"),
    "calibrated, temperature 0.3": ("calibrated", CalibratedConfig(temperature=0.3), "outputs"),
    "calibrated, spread 1": ("calibrated", CalibratedConfig(spread=1.0), "outputs"),
    "calibrated, spread 2": ("calibrated", CalibratedConfig(spread=2.0), "outputs"),
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
    parser.add_argument("--library", default="library", help="which of OUT; of equal_tokens.py also residual")
    parser.add_argument(
        "--general", action="store_true", help="let plain experts fall back on the multi-task LoRA"
    )
    parser.add_argument("--num-test", type=int, default=16, help="examples per task")
    parser.add_argument("--metrics", nargs="+", default=["loss"])
    parser.add_argument("--routers", nargs="*", choices=ROUTERS, default=list(ROUTERS))
    parser.add_argument("--controls", nargs="*", choices=CONTROLS, default=list(CONTROLS))
    parser.add_argument("--rivals", nargs="+", default=["uniform", "multi-task"])
    parser.add_argument("--gate-steps", type=int, default=50, help="of phatgoose's training")
    parser.add_argument("--gate-batch", type=int, default=4, help="examples per expert and step of it")
    parser.add_argument("--stored", action="store_true", help="print what an earlier call measured")
    parser.add_argument(
        "--suffix",
        nargs="+",
        default=[""],
        help="of the files' names; with --stored several are put together",
    )
    args = parser.parse_args()
    if args.stored:
        for name in args.sets:
            parts = [Result.from_json(args.out / f"routing-{name}{suffix}.json") for suffix in args.suffix]
            show(reduce(Result.merge, parts), args.rivals, args.out / f"routing-{name}{args.suffix[0]}.md")
        return
    experts = Library.open(str(args.out / args.library))
    general = {"general": Library.open(str(args.out / "controls"))["multi-task"]} if args.general else {}
    controls = find_controls(args, experts)
    model = lorary.load_model("smollm2-135m", experts, router=None, controls=controls, **general)
    gates = GateConfig(num_steps=args.gate_steps, batch_size=args.gate_batch, tokens_per_pass=4096)
    routers = {ROUTERS[name][0] for name in args.routers}
    provide_material(model, experts, read_tasks(args.data), routers, gates)
    for name in args.sets:
        tasks = find_tasks(args.data, name)
        if "unseen" not in name:
            tasks = {task: found for task, found in tasks.items() if task in experts}
        routes = make_routes(tasks, model, args.routers, args.controls)
        above = "on top: " if args.library != "library" else "general: " if args.general else ""
        routes = [replace(route, name=f"{above}{route.name}") for route in routes]
        result = measure(model, name, tasks, routes, args.num_test, args.metrics)
        result.to_json(args.out / f"routing-{name}{args.suffix[0]}.json")
        rivals = [rival for rival in args.rivals if set(result.routes) > {rival}]
        show(result, rivals, args.out / f"routing-{name}{args.suffix[0]}.md")


def find_controls(args: argparse.Namespace, experts: Library) -> dict[str, Expert]:
    """Collect the controls that are asked for and are not in the library, as its general expert is."""
    others = Library.open(str(args.out / "controls"))
    wanted = [name for name in ("multi-task", "multi-task-all") if name in args.controls]
    controls = {name: others[name] for name in wanted if name not in experts}
    return controls | ({"random": random_expert(experts)} if "random" in args.controls else {})


def make_routes(
    tasks: Mapping[str, Task], model: RoutedModel, routers: list[str], controls: list[str]
) -> list[Route]:
    """List the controls and the routers; the oracle only where every task has an expert."""
    routes = [Route(name="base")] if "base" in controls else []
    for control in ("random", "multi-task", "multi-task-all"):
        if control in controls:
            routes.append(Route(name=control, expert_of=dict.fromkeys(tasks, control)))
    for name in routers:
        router, options, combine = ROUTERS[name]
        routes.append(Route(name=name, router=router, options=options, combine=combine))
    if "oracle" in controls and set(tasks) <= set(model.names):
        routes.append(Route(name="oracle", expert_of={name: name for name in tasks}))
    return routes


if __name__ == "__main__":
    main()
