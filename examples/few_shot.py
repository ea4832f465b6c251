"""Compare the ways to adapt a library to new tasks from a few examples.

    python examples/few_shot.py DATA runs/library --num-examples 20 --seeds 0 1 2
    python examples/few_shot.py DATA runs/modular --rank 16 --methods fresh multi-task "mhr, joint skills"
    python examples/few_shot.py DATA runs/library --table

Takes the libraries and the multi-task expert that examples/equal_tokens.py trained into that folder, or, for
joint skills, those of examples/modular_training.py.
The tasks are in few_shot_tasks.py, the methods in few_shot_variants.py. Results of a method, seed and number
of examples are lines of OUT/few-shot.jsonl, one per task, with a hash of everything they depend on: a second
call measures only what is missing. ``--table`` only prints the tables of existing results.
"""

import argparse
import json
import shutil
from pathlib import Path

from few_shot_tables import print_tables, read_lines
from few_shot_tasks import TASKS, TEMPLATE, prepare, read_few, read_own
from few_shot_variants import VARIANTS, list_generals, make_key, open_library
from natural_instructions import LONGEST, show_bar

import lorary
from lorary.adaptation import AdaptConfig, adapt
from lorary.data import Task
from lorary.evaluation import EvalConfig, Route, evaluate
from lorary.library import Library
from lorary.models import BaseModel
from lorary.training import TrainConfig


def main() -> None:
    """Adapt, measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", choices=TASKS, default="test")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=VARIANTS,
        default=[name for name, options in VARIANTS.items() if "skills" not in options],
        help="if not given: all that need no joint skills",
    )
    parser.add_argument("--num-examples", nargs="+", type=int, default=[20], help="examples of each new task")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the draw and of the training")
    parser.add_argument("--epochs", type=float, default=2, help="of a new expert: the budget of all methods")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--rank", type=int, default=8, help="of new experts; LoRA's alpha is twice as much")
    parser.add_argument("--num-test", type=int, default=20, help="test examples per task")
    parser.add_argument("--table", action="store_true", help="only print the tables")
    args = parser.parse_args()
    place = args.out / "few-shot.jsonl"
    if not args.table:
        measure_missing(args, place)
    print_tables([line for line in read_lines(place) if line["set"] == args.tasks], args.out, args.tasks)


def measure_missing(args: argparse.Namespace, place: Path) -> None:
    """Measure every method, seed and number of examples that has no lines yet."""
    base = lorary.load_base()
    libraries = {method: open_library(args.out, method) for method in args.methods}
    for num_examples in args.num_examples:
        for seed in args.seeds:
            tasks = read_few(args.data, TASKS[args.tasks], num_examples, seed)
            for method, library in libraries.items():
                train = TrainConfig(
                    rank=args.rank,
                    alpha=2 * args.rank,
                    epochs=args.epochs,
                    batch_size=4,
                    learning_rate=args.learning_rate,
                    validate_every=4,
                    patience=3,
                    seed=seed,
                )
                config = AdaptConfig(train=train, rank=args.rank, **VARIANTS[method])
                about = {"set": args.tasks, "method": method, "num_examples": num_examples, "seed": seed}
                about |= {"rank": args.rank, "learning_rate": args.learning_rate, "epochs": args.epochs}
                key = make_key(base, library, tasks, config, args.num_test)
                if all(line["key"] != key for line in read_lines(place)):
                    lines = measure(base, library, tasks, config, args, args.out / "few-shot-runs" / key)
                    with place.open("a") as file:
                        file.writelines(json.dumps({"key": key, **about, **line}) + "\n" for line in lines)


def measure(
    base: BaseModel,
    library: Library,
    tasks: dict[str, Task],
    config: AdaptConfig,
    args: argparse.Namespace,
    folder: Path,
) -> list[dict[str, object]]:
    """Adapt to all tasks at once, and measure the test losses; with ``fresh``, of the base model too."""
    with show_bar(f"{config.method}, seed {config.train.seed}") as show:
        outcome = adapt(
            base,
            library,
            prepare(base, tasks),
            config,
            folder,
            own_examples=read_own(args.data, base) if config.by == "embedding" else None,
            on_progress=lambda event: show(event.num_done, event.num_steps),
        )
    model = lorary.load_model(base, {**outcome.experts, **list_generals(library)}, router=None)
    routes = [Route(name="own", expert_of={name: name for name in tasks})]
    if config.method == "fresh":
        routes.append(Route(name="base"))
    result = evaluate(
        model, tasks, routes, TEMPLATE, EvalConfig(num_examples=args.num_test, max_length=LONGEST)
    )
    model.detach()
    shutil.rmtree(folder)
    return [
        {
            "task": name,
            "losses": {route.name: list(result.values(name, route.name, "loss")) for route in routes},
            "validation": [loss for _, loss in found.progress.validation_curve],
            "tokens_read": found.num_read,
            "tokens_trained": found.progress.tokens,
            "seconds": outcome.seconds / len(tasks),
            "weights": list(found.weights)[:3],
        }
        for name, found in outcome.tasks.items()
    ]


if __name__ == "__main__":
    main()
