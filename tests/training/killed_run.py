"""Training runs that are killed for real, and taken up again until they are finished.

    python killed_run.py OUT SCENARIOS

SCENARIOS is a JSON object: name -> list of moments, each ``["pass", n]`` (the process kills itself after its
n-th pass), ``["call", n]`` (before its n-th call to the file system), ``["failure", n]`` (that call fails),
``["interrupt", n]`` (Ctrl-C at that call) or ``["seconds", s]`` (it is killed from outside after that time).
Each moment costs one process; a last one, which nobody disturbs, finishes the run. Then
``OUT/<name>.safetensors`` holds the experts. Prints, for each scenario, how many were killed or ended with an
error.

Processes are forked, since importing torch takes longer than a run.
"""

import errno
import json
import os
import signal
import sys
import time
import traceback
from itertools import count
from pathlib import Path

import torch
from failing_calls import at_call
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from lorary.data import TokenizedExample
from lorary.errors import LoraryError
from lorary.models import wrap_base
from lorary.training import TrainConfig, TrainingExamples, train_experts

CONFIG = TrainConfig(
    rank=2,
    batch_size=2,
    max_steps=4,
    learning_rate=1e-2,
    num_slots=2,
    validate_every=1,
    patience=2,
    checkpoint_seconds=0,
)
# What a process ends with that was stopped by an error as it should be.
STOPPED = 3


def main():
    out, scenarios = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama",
        vocab_size=32,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.2,
    )
    base = wrap_base(AutoModelForCausalLM.from_config(config), None, name="tiny")
    with torch.no_grad():
        base.model(input_ids=torch.tensor([[3, 4]]))  # imports what is imported late
    num_killed = {}
    for name, moments in scenarios.items():
        deaths = [run_in_child(base, out / name, moment) for moment in moments]
        assert not run_in_child(base, out / name, ["never", 0], result=out / f"{name}.safetensors")
        num_killed[name] = sum(deaths)
    print(json.dumps(num_killed))


def run_in_child(base, folder, moment, result=None):
    """Train in a process of its own; true if it was stopped as it should be, an error if by anything else."""
    kind, number = moment
    child = os.fork()
    if child == 0:
        try:
            train(base, folder, kind, number, result)
        except (LoraryError, OSError, KeyboardInterrupt) as error:
            if kind not in ("failure", "interrupt"):
                traceback.print_exc()
            os._exit(STOPPED if kind in ("failure", "interrupt") and len(str(error)) < 1000 else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if kind == "seconds":
        time.sleep(number)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or os.WEXITSTATUS(status) in (0, STOPPED), f"{folder.name}, {moment}: status {status}"
    return killed or os.WEXITSTATUS(status) == STOPPED


def train(base, folder, kind, number, result):
    passes = count(1)

    def follow(event):
        if kind == "pass" and next(passes) == number:
            die()

    acts = {"call": die, "failure": fail, "interrupt": interrupt}
    with at_call(number if kind in acts else 0, acts.get(kind), folder):
        outcome = train_experts(base, make_examples(), CONFIG, folder, on_progress=follow)
    if result is not None:
        tensors = {
            f"{name}/{path}/{letter}": tensor
            for name, expert in outcome.experts.items()
            for path, pair in expert.factors.items()
            for letter, tensor in zip("ab", pair, strict=True)
        }
        curves = {name: json.dumps(progress.train_curve) for name, progress in outcome.progress.items()}
        save_file(tensors, result, metadata=curves)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def fail():
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def interrupt():
    raise KeyboardInterrupt


def make_examples():
    """Three experts for two slots; the third task's validation examples are another's, so it stops early."""
    generator = torch.Generator().manual_seed(0)

    def draw(number):
        rows = torch.randint(3, 32, (number, 6), generator=generator).tolist()
        return tuple(TokenizedExample(tuple(row[:4]), tuple(row[4:])) for row in rows)

    return {name: TrainingExamples(train=draw(5), validation=draw(2)) for name in ("poetry", "sql", "law")}


if __name__ == "__main__":
    main()
