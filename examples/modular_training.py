"""Compare ways to train on many tasks with the same number of tokens: Polytropon, MHR, one LoRA, alone.

    python examples/modular_training.py DATA runs/modular --max-tokens 258000
    python examples/modular_training.py DATA runs/modular --max-tokens 24000 --num-tasks 8 --batch-size 8

The tasks are those of examples/natural_instructions.py; the unseen ones are those of examples/few_shot.py.
Skills and the one LoRA have the same number of trained parameters (8 skills of rank 2, and rank 16);
independent experts, and those of the mixture of experts, have rank 2 each. Tasks that were not trained on use
the mean row of the table, the one LoRA, the mean of the independent experts, or the router. Continues where
an earlier call stopped; the results of an arm are OUT/routing-seen.<arm>.json and
OUT/routing-unseen.<arm>.json, which examples/routing_tables.py reads. Independent experts and skills are
stored in OUT/library and the one LoRA in OUT/controls, where examples/few_shot.py finds them.
"""

import argparse
from functools import reduce
from pathlib import Path

from equal_tokens import choose_tasks
from few_shot_tasks import TASKS
from few_shot_variants import MULTI_TASK
from modular_arms import ARMS, Arm
from task_sets import find_tasks, measure, show

import lorary
from lorary.data import Task
from lorary.evaluation import Result, Route
from lorary.experts.skills import SkillSet
from lorary.library import Library
from lorary.library.skills import store_skills
from lorary.models import BaseModel

OTHER = "another task"
JOINT_SKILLS = {"Polytropon": "poly", "MHR, 8 splits": "mhr", "MHR, 64 splits": "mhr64"}
"""Arms whose skills are stored -> what the skills' names start with."""


def main() -> None:
    """Train, measure and compare each arm."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--max-tokens", type=int, default=258_000, help="seen tokens of all tasks together")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of factors; that of tables is 0.1")
    parser.add_argument("--num-tasks", type=int, default=43, help="to train on, evenly spaced in the list")
    parser.add_argument("--batch-size", type=int, default=16, help="of trainings on all tasks together")
    parser.add_argument("--num-test", type=int, default=8, help="test examples per task")
    args = parser.parse_args()
    base = lorary.load_base()
    unseen = find_tasks(args.data, "unseen")
    sets = {
        "seen": choose_tasks(find_tasks(args.data, "seen"), args.num_tasks),
        "unseen": {name: unseen[name] for name in TASKS["test"]},
    }
    for name in args.arms:
        arm = ARMS[name](base, sets["seen"], args, args.out / name)
        store(name, arm, args.out)
        if not all((args.out / f"routing-{key}.{name}.json").exists() for key in sets):
            measure_arm(base, sets, name, arm, args)
    for name in sets:
        found = [Result.from_json(args.out / f"routing-{name}.{arm}.json") for arm in args.arms]
        rivals = [rival for rival in ("one LoRA", "independent") if rival in args.arms]
        show(reduce(Result.merge, found), rivals, args.out / f"{name}.md")


def store(name: str, arm: Arm, out: Path) -> None:
    """Store what examples/few_shot.py adapts."""
    if name == "independent":
        Library.open(str(out / "library"), create=True).add_all(arm.experts, replace=True)
    elif name == "one LoRA":
        Library.open(str(out / "controls"), create=True)[MULTI_TASK] = arm.other.rename(MULTI_TASK)
    elif name in JOINT_SKILLS:
        skills = [
            skill.rename(f"{JOINT_SKILLS[name]}-{place}") for place, skill in enumerate(arm.skills.skills)
        ]
        store_skills(Library.open(str(out / "library"), create=True), SkillSet(skills, arm.skills.table))


def measure_arm(
    base: BaseModel, sets: dict[str, dict[str, Task]], name: str, arm: Arm, args: argparse.Namespace
) -> None:
    """Measure an arm on the tasks that it was trained on and on others; the base model with the first arm."""
    others = {} if arm.other is None else {OTHER: arm.other}
    model = lorary.load_model(base, {**arm.experts, **others}, router=None, facts=arm.facts)
    for key, tasks in sets.items():
        expert_of = {task: task if key == "seen" else OTHER for task in tasks}
        routes = [Route(name=name, expert_of=expert_of) if others else Route(name=name, router="moe")]
        if name == next(iter(ARMS)):
            routes.append(Route(name="base"))
        measure(model, key, tasks, routes, args.num_test).to_json(args.out / f"routing-{key}.{name}.json")
    model.detach()


if __name__ == "__main__":
    main()
