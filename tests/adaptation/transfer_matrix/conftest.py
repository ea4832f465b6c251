"""A tiny base model, random experts on it, and new tasks that can be learned."""

import pytest
import torch

from lorary.data import TokenizedExample
from lorary.training import TrainConfig, TrainingExamples

NAMES = ["dates", "morse", "poetry", "sql"]
CONFIG = TrainConfig(max_steps=4, batch_size=2, learning_rate=0.02, num_slots=3)


def make_task(shift, *, num_train=5, num_validation=3):
    """Make examples whose target tokens are prompt tokens plus a number."""
    drawn = torch.Generator().manual_seed(shift)

    def draw():
        prompt = torch.randint(3, 40, (4,), generator=drawn).tolist()
        return TokenizedExample(tuple(prompt), tuple(token + shift for token in prompt[:3]))

    train, validation = ([draw() for _ in range(count)] for count in (num_train, num_validation))
    return TrainingExamples(train=tuple(train), validation=tuple(validation), tasks=(f"shift {shift}",))


@pytest.fixture(scope="package")
def base(build_tiny_base):
    return build_tiny_base()


@pytest.fixture(scope="package")
def experts(base, draw_expert):
    return {name: draw_expert(base, name) for name in NAMES}


@pytest.fixture(scope="package")
def tasks():
    return {"greek": make_task(1), "latin": make_task(7)}
