"""A tiny base model, four random experts on it, and a new task."""

import pytest

from lorary.adaptation.retrieval import RetrievalContext
from lorary.data import TokenizedExample
from lorary.training import TrainConfig, TrainingExamples

NAMES = ["dates", "morse", "poetry", "sql"]
GENERIC = ("some text of no task", "and another one", "1 2 3")


def make_examples(base, *prompts):
    """Make examples whose targets are the prompts' first letters."""
    encode = base.tokenizer.encode
    return TrainingExamples(
        train=tuple(TokenizedExample(tuple(encode(text)), tuple(encode(text[:2]))) for text in prompts),
        tasks=("greek",),
    )


@pytest.fixture(scope="package")
def base(build_tiny_base):
    return build_tiny_base()


@pytest.fixture(scope="package")
def experts(base, draw_expert):
    return {name: draw_expert(base, name, tasks=(f"{name} task",)) for name in NAMES}


@pytest.fixture
def context(base, experts):
    return RetrievalContext(
        base=base,
        experts=experts,
        task="greek",
        examples=make_examples(base, "alpha beta", "gamma", "delta epsilon"),
        quick=TrainConfig(max_steps=2, batch_size=2),
        router_options={"generic": GENERIC},
    )
