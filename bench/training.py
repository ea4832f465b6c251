"""Training 8 experts in one pass, against 8 PEFT runs one after the other on the same batches."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import torch

from bench.memory import measure_peak
from bench.models import RANK, load_bench_base
from bench.options import Options
from bench.peft_training import train_alone
from bench.report import Cell, Table
from bench.timing import Side, Times, rate, ratio, wait_for_device
from bench.training_data import fixed_examples, mixed_examples
from bench.training_run import Batch, TrainingRun, configure_run, count_tokens, plan_all
from lorary import BaseModel, TrainConfig, train_experts
from lorary.passes.packing import pack_sequences
from lorary.passes.prefixes import plan_passes
from lorary.training import TrainingExamples
from lorary.training.loop.event import TrainEvent

LORARY = "lorary, in one pass"
PEFT = {"PEFT, one by one": False, "PEFT, one by one, autocast": True}
TARGET = 1.5
FORWARD_STEPS = 5


@dataclass(frozen=True, kw_only=True)
class Job:
    """The input of both sides."""

    base: BaseModel
    """Bare before and after."""
    examples: Mapping[str, TrainingExamples]
    """Expert name -> tokens."""
    config: TrainConfig
    """How to train."""
    scratch: Path
    """Where to save."""


def measure(options: Options) -> list[Table]:
    """Measure batches of about 64 tokens per example, and batches of mixed lengths."""
    source = "generated tasks" if options.data is None else "real tasks"
    return [
        _measure_batches("fixed", "about 64 tokens per example", options),
        _measure_batches("mixed", f"mixed lengths, {source}", options),
    ]


def prepare_job(options: Options, kind: str) -> Job:
    """Load the base model and make the examples.

    Args:
        options: of the command line.
        kind: ``"fixed"`` or ``"mixed"``.
    """
    num_experts, num_steps = (2, 3) if options.quick else (8, 20)
    # As many examples in all: two short ones per step, or four of mixed lengths as a real run takes them.
    batch_size, num_steps = (2, num_steps) if kind == "fixed" else (4, max(3, num_steps // 2))
    base = load_bench_base(options.base, options.torch_dtype)
    if kind == "fixed":
        examples = fixed_examples(base.tokenizer, num_experts)
    else:
        examples = mixed_examples(base.tokenizer, num_experts, options.data)
    config = configure_run(rank=RANK, batch_size=batch_size, num_steps=num_steps)
    return Job(base=base, examples=examples, config=config, scratch=options.scratch)


def _measure_batches(kind: str, what: str, options: Options) -> Table:
    def find_peak(side: Callable[[Job], TrainingRun]) -> float:
        return measure_peak(side, prepare_job, options, kind).extra / 1e6

    return measure_job(prepare_job(options, kind), what, options, TARGET, find_peak)


def measure_job(
    job: Job,
    what: str,
    options: Options,
    target: float,
    find_peak: Callable[[Callable[[Job], TrainingRun]], float] | None = None,
) -> Table:
    """Measure one job by all sides.

    Args:
        job: what they are given.
        what: a description of its batches.
        options: rounds and dtype.
        target: how many times PEFT's tokens/s lorary should reach.
        find_peak: measures a side's memory, in MB; None leaves it out.
    """
    steps = plan_all(job.examples, job.config)
    sides = {LORARY: train_with_lorary} | {
        name: partial(train_with_peft, autocast)
        for name, autocast in PEFT.items()
        if not autocast or options.dtype == "bfloat16"
    }
    base = Side(partial(_forward_base, job))
    base.time()  # training warms up in its own first steps
    runs, forwards = [], []
    for _ in range(min(options.repeats, 3)):
        forwards.append(base.time())
        runs.append({name: side(job) for name, side in sides.items()})
    later = {name: Times(tuple(run[name].later_seconds for run in runs)) for name in sides}
    # For as many tokens as the training that is timed.
    forward = Times(tuple(forwards)).per(count_tokens(steps[:FORWARD_STEPS]) / count_tokens(steps[1:]))
    rows: list[dict[str, Cell]] = [
        {
            "side": name,
            "tokens/s": rate(count_tokens(steps[1:]), later[name]),
            "lorary's rate / this": ratio(later[name], later[LORARY]),
            "× base forward": ratio(later[name], forward),
            "tokens/s, start to saved": rate(
                count_tokens(steps), Times(tuple(run[name].whole_seconds for run in runs))
            ),
            **({"peak MB": find_peak(side)} if find_peak else {}),
            "last loss": runs[-1][name].loss,
        }
        for name, side in sides.items()
    ]
    return Table(
        title=f"training {len(job.examples)} experts, {job.config.batch_size} examples each per step, "
        f"{len(steps)} steps, {what}, {options.dtype}",
        rows=rows,
        note=f"{_describe_batches(steps)} Target: {target:g} × PEFT's tokens/s.",
    )


def train_with_lorary(job: Job) -> TrainingRun:
    """Train all experts at once."""
    reached: dict[int, float] = {}

    def note_time(event: TrainEvent) -> None:
        # The last report before the count of steps changes comes at the end of a step's passes.
        wait_for_device()
        reached[event.num_steps] = time.perf_counter()

    start = time.perf_counter()
    outcome = train_experts(
        job.base, job.examples, job.config, mkdtemp(dir=job.scratch), on_progress=note_time
    )
    whole_seconds = time.perf_counter() - start
    num_experts = len(job.examples)
    first, last = reached[0], reached[num_experts * (len(plan_all(job.examples, job.config)) - 1)]
    losses = [progress.train_curve[-1][1] for progress in outcome.progress.values()]
    return TrainingRun(
        later_seconds=last - first, whole_seconds=whole_seconds, loss=sum(losses) / num_experts
    )


def train_with_peft(autocast: bool, job: Job) -> TrainingRun:
    """Train one adapter after the other."""
    folder = Path(mkdtemp(dir=job.scratch))
    return train_alone(job.base, job.examples, job.config, folder, autocast=autocast)


@torch.no_grad()
def _forward_base(job: Job) -> None:
    """Run the bare base model over the first steps' examples, packed, with all logits."""
    for step in plan_all(job.examples, job.config)[:FORWARD_STEPS]:
        for members in plan_passes(step, None, job.config.tokens_per_pass):
            batch = pack_sequences([step[index] for index in members], job.config.row_length)
            job.base.model(**batch.to(job.base.model.device).model_inputs())


def _describe_batches(steps: Sequence[Batch]) -> str:
    examples = [example for step in steps for example in step]
    targets = sum(len(example.target_ids) for example in examples)
    lengths = sorted(map(len, examples))
    return (
        f"Examples of {lengths[0]} to {lengths[-1]} tokens, median {lengths[len(lengths) // 2]}; "
        f"{targets / sum(lengths):.0%} of all tokens are targets. tokens/s counts input and target tokens, "
        "no padding, in all steps but the first; 'start to saved' in the whole run. × base forward: time per "
        "token in units of the bare base model's forward pass over packed rows with all logits."
    )
