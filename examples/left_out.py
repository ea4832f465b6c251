"""Compare routers on each of a library's tasks with the task's own expert removed.

    python examples/left_out.py DATA runs/first-library seen --num-test 4 --routers uniform arrow calibrated

Takes the library that examples/natural_instructions.py trained into that folder. So every task of the
library is one for which no expert was trained. Prints means and paired differences to uniform; writes
left-out-SET.json and .md there. The sets validation and validation-bare are for making choices.
"""

import argparse
from functools import reduce
from pathlib import Path

from routers_table import ROUTERS
from task_sets import find_tasks, measure, show

import lorary
from lorary.evaluation import Result, Route
from lorary.library import Library


def main() -> None:
    """Remove each expert in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", choices=("seen", "bare", "validation", "validation-bare"))
    parser.add_argument("--num-test", type=int, default=4, help="examples per task")
    parser.add_argument(
        "--routers",
        nargs="+",
        choices=ROUTERS,
        default=["uniform", "arrow", "calibrated, always sure", "calibrated"],
    )
    args = parser.parse_args()
    experts = dict(Library.open(str(args.out / "library")).items())
    base = lorary.load_base()
    routes = [Route(name="base")]
    for name in args.routers:
        router, options, combine = ROUTERS[name]
        routes.append(Route(name=name, router=router, options=options, combine=combine))
    for name in args.sets:
        tasks = {task: found for task, found in find_tasks(args.data, name).items() if task in experts}
        results = []
        for number, (task, found) in enumerate(tasks.items(), 1):
            others = {other: expert for other, expert in experts.items() if other != task}
            model = lorary.load_model(base, others, router=None)
            what = f"{name}, {number} of {len(tasks)}"
            results.append(measure(model, name, {task: found}, routes, args.num_test, what=what))
            model.detach()
        result = reduce(Result.merge, results)
        result.to_json(args.out / f"left-out-{name}.json")
        show(result, ["uniform"], args.out / f"left-out-{name}.md")


if __name__ == "__main__":
    main()
