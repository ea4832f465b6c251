"""The display of routers by ``print(model)``."""

from torch import nn

OPTIONS = ("top_k", "candidates", "temperature", "input_norm", "weigh_by_gain", "abstain")


def show_options(router: nn.Module, **sizes: int) -> str:
    """Return a router's sizes and options for ``extra_repr``.

    Args:
        router: the router; those of ``OPTIONS`` that it has are shown.
        sizes: name -> number.
    """
    options = {name: getattr(router, name) for name in OPTIONS if hasattr(router, name)}
    return ", ".join(f"{name}={value!r}" for name, value in {**sizes, **options}.items())
