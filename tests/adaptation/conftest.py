"""A tiny base model, experts on it, and two new tasks with few examples."""

import pytest

from lorary.adaptation import AdaptConfig
from lorary.data import TokenizedExample
from lorary.training import TrainConfig, TrainingExamples

NAMES = ["dates", "morse", "poetry", "sql"]
GENERIC = ("some text of no task", "and another one", "1 2 3")
TEXTS = {
    "greek": ("alpha beta", "gamma", "delta epsilon", "zeta eta theta"),
    "colours": ("red green", "blue", "dark yellow"),
}


@pytest.fixture(scope="package")
def tiny(build_tiny_base):
    return build_tiny_base()


@pytest.fixture(scope="package")
def library(tiny, draw_expert):
    """Four experts of ranks 1 and 2, by name."""
    return {name: draw_expert(tiny, name, rank=1 + place % 2) for place, name in enumerate(NAMES)}


@pytest.fixture(scope="package")
def few(tiny):
    """Two new tasks; the last example of each is for validation."""
    encode = tiny.tokenizer.encode

    def read(texts):
        return tuple(TokenizedExample(tuple(encode(text)), tuple(encode(text[:3]))) for text in texts)

    return {
        name: TrainingExamples(train=read(texts[:-1]), validation=read(texts[-1:]), tasks=(name,))
        for name, texts in TEXTS.items()
    }


@pytest.fixture(scope="package")
def configure():
    """Make a configuration of a few quick steps."""

    def make(method, *, train=None, **changes):
        settings = {
            "batch_size": 2,
            "learning_rate": 0.01,
            "max_steps": 4,
            "validate_every": 2,
            "patience": 3,
            "checkpoint_seconds": 0.0,
            **(train or {}),
        }
        return AdaptConfig(method=method, train=TrainConfig(**settings), **changes)

    return make


@pytest.fixture(scope="package")
def run(tiny, library, few, configure):
    """Adapt the library to the new tasks by a method."""
    from lorary.adaptation import adapt

    def go(method, folder, *, experts=None, examples=None, told=None, train=None, **changes):
        return adapt(
            tiny,
            library if experts is None else experts,
            few if examples is None else examples,
            configure(method, train=train, **changes),
            folder,
            router_options={"generic": GENERIC},
            **(told or {}),
        )

    return go
