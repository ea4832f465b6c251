"""Trainings of skills, and adaptations of them, that are killed for real and taken up again.

    python -m tests.training.killed_skills OUT

Each process but the last of a run kills itself (SIGKILL) after some passes. ``OUT/<run>.safetensors`` holds
what came of a run: tables, factors and curves.
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path

import torch
from safetensors.torch import save

from lorary.experts import Expert, Factors
from lorary.experts.skills import make_skill_set
from lorary.models import find_layers, layer_shape
from lorary.training import SkillConfig, TrainConfig, prepare_mode, train_skills
from tests.training.toy_objectives import build_base, draw_examples, make_task_example

MODES = ("fresh", "mhr-z", "mhr-mu")
CONFIG = SkillConfig(
    train=TrainConfig(
        rank=2, batch_size=3, max_steps=6, learning_rate=1e-2, validate_every=2, checkpoint_seconds=0
    ),
    num_skills=3,
    num_splits=2,
    shared_skill=True,
    balanced=True,
)


def make_experts(base):
    generator = torch.Generator().manual_seed(0)
    layers = {path: layer_shape(layer) for path, layer in find_layers(base.model, ["q_proj"]).items()}
    for number in range(3):
        factors = {
            path: Factors(torch.randn(2, i, generator=generator), torch.randn(o, 2, generator=generator))
            for path, (i, o) in layers.items()
        }
        yield Expert(f"expert-{number}", base.name, factors)


def train(base, mode, folder, follow):
    examples = draw_examples(make_task_example)
    if mode == "fresh":
        return train_skills(base, examples, CONFIG, folder, on_progress=follow)
    start, config = prepare_mode(mode, make_skill_set(list(make_experts(base)), num_splits=2), CONFIG)
    return train_skills(base, examples, config, folder, start=start, on_progress=follow)


def run_in_child(base, mode, folder, moment):
    """Train in a process that kills itself after some passes, or writes what came out."""
    child = os.fork()
    if child == 0:
        passes = count(1)

        def follow(event):
            if next(passes) == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        outcome = train(base, mode, folder, follow)
        found = {"curve": torch.tensor(outcome.progress.train_curve)}
        found |= {f"table {group}": logits for group, logits in outcome.skill_set.table.logits.items()}
        for skill in outcome.skill_set.skills:
            found |= {f"{skill.name} {path}": (b @ a).contiguous() for path, (a, b) in skill.factors.items()}
        folder.with_suffix(".safetensors").write_bytes(save(found))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    expected = 0 if moment is None else signal.SIGKILL
    if status != expected:
        raise SystemExit(f"{mode}, {moment}: status {status}")


def main():
    out = Path(sys.argv[1])
    torch.set_num_threads(1)
    base = build_base()
    train(base, "fresh", out / "before", None)  # imports what is imported late, and makes trials of the model
    for mode in MODES:
        run_in_child(base, mode, out / f"{mode}-whole", None)
        for moment in (4, 2):
            run_in_child(base, mode, out / f"{mode}-killed", moment)
        run_in_child(base, mode, out / f"{mode}-killed", None)


if __name__ == "__main__":
    main()
