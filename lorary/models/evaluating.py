"""Running a model as it answers, whatever mode it is in."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

# Models report unsupported input by various exceptions.
MODEL_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within this context nothing in the model drops out; each of its modules gets its own mode back."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
