"""Compare routers on a library's own tasks, on these without definitions, and on tasks that no expert saw.

    python examples/routing.py DATA runs/first-library seen bare unseen --num-test 16

Takes the library and the multi-task experts that examples/natural_instructions.py or
examples/equal_tokens.py trained into that folder. ``--library`` takes another library there, such as
``residual`` (experts on top of a general one; their routes are named "on top: …"). ``--general
controls/multi-task`` or ``merges/wudi`` gives routers a fallback expert ("fallback wudi: …").
``--merges wudi`` adds a merge that examples/merging.py kept as a route ("merge: wudi"). Prints for each
set of tasks the routes' means and their paired differences to the rivals; writes routing-SET.json and .md
there. Answers are kept too, so that a second call computes only what is missing. --stored prints the results
of an earlier call again, also with other --rivals; examples/routing_tables.py prints tables of
several calls. The set unseen-choices has the tasks of unseen with multiple choice, for the metric
accuracy_per_token; validation, validation-bare and other-unseen are for making choices.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path

from natural_instructions import read_tasks
from routers_table import ROUTERS
from task_material import provide_material
from task_sets import SETS, find_tasks, measure, show

import lorary
from lorary import Expert
from lorary.assembly import RoutedModel
from lorary.data import Task
from lorary.evaluation import Result, Route
from lorary.library import Library
from lorary.training import GateConfig
from lorary.transforms import random_expert

CONTROLS = ("base", "random", "multi-task", "multi-task-all", "oracle")


def main() -> None:
    """Evaluate the routes on each set of tasks."""
    args = read_arguments()
    if args.stored:
        for name in args.sets:
            parts = [Result.from_json(args.out / f"routing-{name}{suffix}.json") for suffix in args.suffix]
            show(reduce(Result.merge, parts), args.rivals, args.out / f"routing-{name}{args.suffix[0]}.md")
        return
    experts = Library.open(str(args.out / args.library))
    general = {} if args.general is None else {"general": read_expert(args.out / args.general)}
    controls = find_controls(args, experts)
    model = lorary.load_model("smollm2-135m", experts, router=None, controls=controls, **general)
    gates = GateConfig(num_steps=args.gate_steps, batch_size=args.gate_batch, tokens_per_pass=4096)
    routers = {ROUTERS[name][0] for name in args.routers}
    provide_material(model, experts, read_tasks(args.data), routers, gates)
    for name in args.sets:
        tasks = find_tasks(args.data, name)
        if "unseen" not in name:
            tasks = {task: found for task, found in tasks.items() if task in experts}
        routes = make_routes(tasks, model, args)
        answers = args.out / f"answers{args.suffix[0]}.jsonl"
        result = measure(model, name, tasks, routes, args.num_test, args.metrics, store_at=answers)
        result.to_json(args.out / f"routing-{name}{args.suffix[0]}.json")
        rivals = [rival for rival in args.rivals if set(result.routes) > {rival}]
        show(result, rivals, args.out / f"routing-{name}{args.suffix[0]}.md")


def read_arguments() -> argparse.Namespace:
    """Read the command's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument(
        "--library", default="library", help="a library in OUT; for equal_tokens.py also residual"
    )
    parser.add_argument("--general", help="of OUT, LIBRARY/EXPERT: the fallback of plain experts")
    parser.add_argument("--num-test", type=int, default=16, help="examples per task")
    parser.add_argument("--metrics", nargs="+", default=["loss"])
    parser.add_argument("--routers", nargs="*", choices=ROUTERS, default=list(ROUTERS))
    parser.add_argument("--controls", nargs="*", choices=CONTROLS, default=list(CONTROLS))
    parser.add_argument("--merges", nargs="*", default=[], help="of OUT/merges, each as a route")
    parser.add_argument("--rivals", nargs="+", default=["uniform", "multi-task"])
    parser.add_argument("--gate-steps", type=int, default=50, help="of phatgoose's training")
    parser.add_argument("--gate-batch", type=int, default=4, help="examples per expert and step of it")
    parser.add_argument("--stored", action="store_true", help="print what an earlier call measured")
    parser.add_argument(
        "--suffix",
        nargs="+",
        default=[""],
        help="of the files' names; with --stored several are joined",
    )
    return parser.parse_args()


def read_expert(place: Path) -> Expert:
    """Read an expert of a library by its name, which is the place's last part."""
    return Library.open(str(place.parent))[place.name]


def find_controls(args: argparse.Namespace, experts: Library) -> dict[str, Expert]:
    """Collect the requested controls that are not in the library; its general expert is."""
    wanted = [name for name in ("multi-task", "multi-task-all") if name in args.controls]
    controls = {name: read_expert(args.out / "controls" / name) for name in wanted if name not in experts}
    merges = {name: read_expert(args.out / "merges" / name) for name in args.merges}
    return controls | merges | ({"random": random_expert(experts)} if "random" in args.controls else {})


def make_routes(tasks: Mapping[str, Task], model: RoutedModel, args: argparse.Namespace) -> list[Route]:
    """List the controls and the routers; the oracle only where every task has an expert."""
    alone = [name for name in ("random", "multi-task", "multi-task-all") if name in args.controls]
    fixed = [Route(name="base")] if "base" in args.controls else []
    fixed += [Route(name=name, expert_of=dict.fromkeys(tasks, name)) for name in alone]
    fixed += [Route(name=f"merge: {name}", expert_of=dict.fromkeys(tasks, name)) for name in args.merges]
    routed = []
    for name in args.routers:
        router, options, combine = ROUTERS[name]
        routed.append(Route(name=name, router=router, options=options, combine=combine))
    if "oracle" in args.controls and set(tasks) <= set(model.names):
        routed.append(Route(name="oracle", expert_of={name: name for name in tasks}))
    above = {"library": "", "residual": "on top: "}.get(args.library, f"{args.library}: ")
    above = above if args.general is None else f"fallback {Path(args.general).name}: "
    return [*fixed, *(replace(route, name=f"{above}{route.name}") for route in routed)]


if __name__ == "__main__":
    main()
