"""Another checkout of lorary beside this one, in turns: the effect of a change of the code on speed.

    git worktree add OLD COMMIT
    python -m bench.versions OLD --rounds 15

Each checkout runs in its own lasting process; a round is one job in one, then the same in the other.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from lorary.training import TrainingExamples

HERE = Path(__file__).resolve().parent.parent
NUM_EXPERTS, RANK, NUM_STEPS = 32, 8, 8
NUM_TRAINED, NUM_TRAINING_STEPS = 8, 2


def main() -> None:
    """Time both and print the ratios, or be one of the two processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path, help="The other checkout")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve()
        return
    workers = {tree: start_worker(tree) for tree in (options.old.resolve(), HERE)}
    jobs = json.loads(ask(workers[HERE], "jobs"))
    ask(workers[options.old.resolve()], "jobs")
    print(f"this checkout / {options.old}: medians of {options.rounds} rounds [lowest, highest of one round]")
    for job in jobs:
        rounds = [[float(ask(each, job)) for each in workers.values()] for _ in range(options.rounds + 1)][1:]
        old, new = (statistics.median(times) for times in zip(*rounds, strict=True))
        ratios = sorted(pair[1] / pair[0] for pair in rounds)
        print(f"{job:32} {new / old:.3f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]  ({1000 * old:.0f} ms before)")
    for worker in workers.values():
        worker.kill()


def start_worker(tree: Path) -> "subprocess.Popen[str]":
    """Start a process that imports the lorary of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-P", str(Path(__file__).resolve()), str(tree), "--worker"]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=tree
    )


def ask(worker: "subprocess.Popen[str]", what: str) -> str:
    """Send one line, and read the answer's."""
    assert worker.stdin is not None and worker.stdout is not None
    print(what, file=worker.stdin, flush=True)
    return worker.stdout.readline()


def serve() -> None:
    """Answer each line of stdin: the names of the jobs, or the seconds that one took."""
    jobs = build_jobs()
    for line in sys.stdin:
        if line.strip() == "jobs":
            print(json.dumps(list(jobs)), flush=True)
            continue
        begun = time.perf_counter()
        jobs[line.strip()]()
        print(time.perf_counter() - begun, flush=True)


def build_jobs() -> dict[str, Callable[[], object]]:
    """Put random experts on the embedded base model; only what all versions have is imported."""
    import lorary
    from lorary.experts import Expert, Factors
    from lorary.models import load_base
    from lorary.training import TrainConfig, train_experts

    base = load_base()
    layers = {
        path: layer.weight.shape
        for path, layer in base.model.model.named_modules(prefix="model")
        if isinstance(layer, torch.nn.Linear)
    }
    experts = {}
    for number in range(NUM_EXPERTS):
        chance = torch.Generator().manual_seed(number)
        factors = {
            path: Factors(
                torch.randn(RANK, wide, generator=chance) * wide**-0.5,
                torch.randn(high, RANK, generator=chance) * 0.01,
            )
            for path, (high, wide) in layers.items()
        }
        experts[f"e{number}"] = Expert(name=f"e{number}", base_model=base.name, factors=factors)
    model = lorary.load_model(base, experts, router="arrow", top_k=4)
    chance = torch.Generator().manual_seed(0)
    few, many = (torch.randint(100, 40_000, (rows, 128), generator=chance) for rows in (4, 8))
    names = [f"e{number}" for number in range(8)]

    @torch.inference_mode()
    def decode(prompts: torch.Tensor) -> None:
        found = model(input_ids=prompts[:, :16], use_cache=True)
        for _ in range(NUM_STEPS):
            token = found.logits[:, -1:].argmax(-1)
            found = model(input_ids=token, past_key_values=found.past_key_values, use_cache=True)

    @torch.inference_mode()
    def prefill(prompts: torch.Tensor) -> None:
        model(input_ids=prompts, use_cache=False)

    def named(run: Callable[[torch.Tensor], None]) -> None:
        with model.assign(names):
            run(many)

    # A base model of its own: training adds experts.
    plain = load_base()
    examples = {f"t{number}": draw_examples(number) for number in range(NUM_TRAINED)}
    config = TrainConfig(max_steps=NUM_TRAINING_STEPS, batch_size=8, rank=RANK)

    def train() -> None:
        with tempfile.TemporaryDirectory() as folder:
            train_experts(plain, examples, config, folder)

    return {
        f"training {NUM_TRAINED} experts, {NUM_TRAINING_STEPS} steps": train,
        "Arrow 4 of 32: prefill 4x128": lambda: prefill(few),
        f"Arrow 4 of 32: {NUM_STEPS} steps, batch 4": lambda: decode(few),
        "8 by name: prefill 8x128": lambda: named(prefill),
        f"8 by name: {NUM_STEPS} steps, batch 8": lambda: named(decode),
    }


def draw_examples(seed: int) -> "TrainingExamples":
    """Draw 8 examples per step: an equal beginning of 8 tokens, 8 to 40 other ones, and answers of 8."""
    from lorary.data.tokens import TokenizedExample
    from lorary.training import TrainingExamples

    chance = random.Random(seed)
    beginning = chance.choices(range(100, 40_000), k=8)
    return TrainingExamples(
        tuple(
            TokenizedExample(
                (*beginning, *chance.choices(range(100, 40_000), k=chance.randint(8, 40))),
                tuple(chance.choices(range(100, 40_000), k=8)),
            )
            for _ in range(8 * NUM_TRAINING_STEPS)
        )
    )


if __name__ == "__main__":
    main()
