"""On a GPU: training 8 experts in one pass, against PEFT's one by one, on random models of usual shapes."""

import random

import torch
from rich.console import Console
from transformers import PreTrainedConfig

from bench.gpu import QUICK_SHAPES, SHAPES, draw_model, use_kernels
from bench.options import Options
from bench.report import Table
from bench.training import Job, measure_job
from bench.training_run import configure_run
from lorary import BaseModel
from lorary.data import TokenizedExample
from lorary.training import TrainingExamples

RANK = 16
BATCH_SIZE = 2
LENGTH, TARGET_LENGTH = 64, 9  # tokens of an example, and of its answer
TARGET = 3.0


def measure(options: Options) -> list[Table]:
    """Measure 20 steps of two examples of 64 tokens for each of 8 experts."""
    if not (torch.cuda.is_available() or options.quick):
        Console(stderr=True).print("no CUDA device: the benchmark gpu_training measures nothing", style="dim")
        return []
    use_kernels("triton")
    try:
        return [
            _measure_shape(name, config, options)
            for name, config in (QUICK_SHAPES if options.quick else SHAPES).items()
        ]
    finally:
        use_kernels(None)


def _measure_shape(name: str, config: PreTrainedConfig, options: Options) -> Table:
    num_experts, num_steps = (2, 3) if options.quick else (8, 20)
    # Its tokens are random: no tokenizer is used, and no weights are read twice.
    base = BaseModel(draw_model(config, options).requires_grad_(False), None, name, None, "")
    chance = random.Random(0)
    examples = {
        f"{index:02d}": _draw_examples(chance, BATCH_SIZE * num_steps) for index in range(num_experts)
    }
    plan = configure_run(rank=RANK, batch_size=BATCH_SIZE, num_steps=num_steps)
    job = Job(base=base, examples=examples, config=plan, scratch=options.scratch)
    return measure_job(job, f"{LENGTH} tokens per example, {name}'s shape", options, TARGET)


def _draw_examples(chance: random.Random, count: int) -> TrainingExamples:
    def draw(length: int) -> tuple[int, ...]:
        return tuple(chance.randrange(1000, 20000) for _ in range(length))

    return TrainingExamples(
        train=tuple(TokenizedExample(draw(LENGTH - TARGET_LENGTH), draw(TARGET_LENGTH)) for _ in range(count))
    )
