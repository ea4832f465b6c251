"""Compare the ways to adapt a library to new tasks from a few examples.

    python examples/few_shot.py DATA runs/library --num-examples 20 --seeds 0 1 2
    python examples/few_shot.py DATA runs/library --num-examples 20 --seeds 0 1 2 --table

Takes the library and the multi-task expert that examples/natural_instructions.py trained into that folder.
The tasks are in few_shot_tasks.py. What a method, seed and number of examples gave are lines of
OUT/few-shot.jsonl, a line per task, under a hash of all it depends on: a second call measures only what is
missing. ``--table`` only prints the tables of what is there.
"""

import argparse
import json
import shutil
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

from few_shot_tables import VARIANTS, print_tables, read_lines
from few_shot_tasks import TASKS, read_few
from natural_instructions import show_bar

import lorary
from lorary.adaptation import AdaptConfig, adapt
from lorary.data import Task, find_template
from lorary.evaluation import EvalConfig, Route, evaluate
from lorary.experts.roles import CONTROL, SKILL
from lorary.library import Library
from lorary.models import BaseModel
from lorary.training import TrainConfig, prepare_examples

TEMPLATE = find_template("plain")
LONGEST = 512


def main() -> None:
    """Adapt, measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", choices=TASKS, default="test")
    parser.add_argument("--methods", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--num-examples", nargs="+", type=int, default=[20], help="examples of each new task")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the draw and of the training")
    parser.add_argument("--epochs", type=float, default=2, help="of a new expert: the budget of all methods")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--num-test", type=int, default=20, help="test examples per task")
    parser.add_argument("--table", action="store_true", help="only print the tables")
    args = parser.parse_args()
    place = args.out / "few-shot.jsonl"
    if not args.table:
        measure_missing(args, place)
    print_tables([line for line in read_lines(place) if line["set"] == args.tasks], args.out, args.tasks)


def measure_missing(args: argparse.Namespace, place: Path) -> None:
    """Measure every method, seed and number of examples that has no lines yet."""
    base, library = lorary.load_base(), open_library(args.out)
    known = {line["key"] for line in read_lines(place)}
    for num_examples in args.num_examples:
        for seed in args.seeds:
            tasks = read_few(args.data, TASKS[args.tasks], num_examples, seed)
            for method in args.methods:
                train = TrainConfig(
                    epochs=args.epochs,
                    batch_size=4,
                    learning_rate=args.learning_rate,
                    validate_every=4,
                    patience=3,
                    seed=seed,
                )
                config = AdaptConfig(train=train, **VARIANTS[method])
                about = {"set": args.tasks, "method": method, "num_examples": num_examples, "seed": seed}
                about |= {"learning_rate": args.learning_rate, "epochs": args.epochs}
                key = make_key(base, library, tasks, config, args.num_test)
                if key not in known:
                    lines = measure(base, library, tasks, config, args, args.out / "few-shot-runs" / key)
                    with place.open("a") as file:
                        file.writelines(json.dumps({"key": key, **about, **line}) + "\n" for line in lines)


def open_library(out: Path) -> Library:
    """Open the library, with the multi-task expert, if it is trained, as a control in it."""
    library = Library.open(str(out / "library"))
    if "multi-task" not in library and (out / "controls").exists():
        expert = Library.open(str(out / "controls"))["multi-task"]
        library["multi-task"] = replace(expert, card=replace(expert.card, role=CONTROL))
    return library


def make_key(
    base: BaseModel, library: Library, tasks: dict[str, Task], config: AdaptConfig, num_test: int
) -> str:
    """Hash everything that the numbers depend on."""
    texts = {name: repr(task.splits) for name, task in tasks.items()}
    used = {*library.routed(), config.multi_task}
    if config.skills is not None:
        used |= {name for name in library if library[name].card.role == SKILL}
    hashes = {name: found for name, found in library.weight_hashes().items() if name in used}
    own = [base.fingerprint, hashes, texts, asdict(config), num_test]
    return sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16]


def measure(
    base: BaseModel,
    library: Library,
    tasks: dict[str, Task],
    config: AdaptConfig,
    args: argparse.Namespace,
    folder: Path,
) -> list[dict[str, object]]:
    """Adapt to all tasks at once, and measure the test losses; with ``fresh``, of the base model too."""
    examples = prepare_examples(base.tokenizer, tasks, TEMPLATE, max_length=LONGEST, truncation="skip")
    with show_bar(f"{config.method}, seed {config.train.seed}") as show:
        outcome = adapt(
            base, library, examples, config, folder, on_progress=lambda e: show(e.num_done, e.num_steps)
        )
    model = lorary.load_model(base, outcome.experts, router=None)
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
            "tokens_read": found.num_read,
            "tokens_trained": found.progress.tokens,
            "seconds": outcome.seconds / len(tasks),
            "weights": list(found.weights)[:3],
        }
        for name, found in outcome.tasks.items()
    ]


if __name__ == "__main__":
    main()
