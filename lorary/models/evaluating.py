"""Running a model in evaluation mode temporarily."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

# The exceptions by which models report input that they do not support.
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
    """Within this context the model is in evaluation mode; afterwards each module has its own mode again."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
