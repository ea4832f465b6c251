"""Measure base models in several precisions: do answers depend on the batch, size, and quality.

    lorary train my-loras --tasks synthetic:past_tense synthetic:questions --training.max_steps 12
    python examples/precision.py my-loras --tasks past_tense questions

Each expert of the library answers test prompts of its own task, each prompt alone and all in one batch.
Losses are measured one text per pass and packed. Prints a table in Markdown: a line for each precision.
"""

import argparse
import warnings
from collections.abc import Iterator

import torch
from rich.console import Console

import lorary
from lorary.assembly import RoutedModel
from lorary.data import PlainTemplate
from lorary.data.synthetic import generate_task
from lorary.evaluation import EvalConfig, Route, evaluate
from lorary.models.quantized.packed_layers import list_stored

PRECISIONS = {
    "float32": {"dtype": torch.float32},
    "bfloat16": {"dtype": torch.bfloat16},
    "4bit": {"dtype": torch.float32, "quantization": "4bit"},
    "8bit": {"dtype": torch.float32, "quantization": "8bit"},
    "torchao-8bit": {"dtype": torch.float32, "quantization": "torchao-8bit"},
}
COLUMNS = ("precision", "MB", "loss", "exact match", "answers changed by the batch", "loss changed by")


def main() -> None:
    """Measure every precision, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library")
    parser.add_argument(
        "--tasks", nargs="+", required=True, help="Synthetic tasks with an expert of that name"
    )
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--num-test", type=int, default=8, help="Test examples per task")
    parser.add_argument("--max-new-tokens", type=int, default=16)
    args = parser.parse_args()
    show = Console(soft_wrap=True).print
    show(f"| {' | '.join(COLUMNS)} |\n|---|{'---:|' * (len(COLUMNS) - 1)}", markup=False)
    for name in args.precisions:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experts of the full model on a quantised one
            base = lorary.load_base(device="cpu", **PRECISIONS[name])
            library = lorary.Library.open(args.library)
            model = lorary.load_model(base, {task: library[task] for task in args.tasks}, router=None)
        cells = (f"{cell}" for cell in measure(model, args))
        show(f"| {name} | {' | '.join(cells)} |", markup=False)


def measure(model: RoutedModel, args: argparse.Namespace) -> Iterator[str]:
    """Yield the cells of a precision's line."""
    yield f"{count_bytes(model) / 1e6:.0f}"
    tasks = {task: generate_task(task) for task in args.tasks}
    routes = [Route(name="own", expert_of={task: task for task in tasks})]
    found = {}
    for how, sizes in {"batch": {}, "alone": {"tokens_per_pass": 1, "batch_size": 1}}.items():
        config = EvalConfig(num_examples=args.num_test, metrics=("loss", "exact_match"), **sizes)
        found[how] = evaluate(model, tasks, routes, PlainTemplate(), config)
    losses = {how: list_values(result, "loss", tasks) for how, result in found.items()}
    right = list_values(found["alone"], "exact_match", tasks)
    yield f"{sum(losses['alone']) / len(losses['alone']):.4f}"
    yield f"{sum(right) / len(right):.2f}"
    prompts, experts = [], []
    for name, task in tasks.items():
        examples = task.split("test")[: args.num_test]
        prompts += [PlainTemplate().render(task, example, model.tokenizer) for example in examples]
        experts += [name] * len(examples)
    together = model.generate(prompts, experts=experts, max_new_tokens=args.max_new_tokens)
    alone = [
        model.generate([prompt], experts=[expert], max_new_tokens=args.max_new_tokens)[0]
        for prompt, expert in zip(prompts, experts, strict=True)
    ]
    num_other = sum(one != other for one, other in zip(together, alone, strict=True))
    yield f"{num_other} of {len(prompts)}"
    yield f"{max(abs(a - b) for a, b in zip(losses['alone'], losses['batch'], strict=True)):.0e}"


def count_bytes(model: RoutedModel) -> int:
    """Count the bytes of the base model's weights, quantised values as they are stored."""
    with model.stack.set_aside() as base:
        return sum(stored.nbytes for weight in base.parameters() for stored in list_stored(weight))


def list_values(result: lorary.evaluation.Result, metric: str, tasks: dict) -> list[float]:
    """List a metric's values of all examples."""
    return [value for task in tasks for value in result.scores[task, "own", metric]]


if __name__ == "__main__":
    main()
