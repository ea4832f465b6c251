"""The options of the routers."""

from typing import Literal

from jsonargparse import ArgumentParser

from lorary.routing import ROUTERS
from lorary.routing.named import list_options
from lorary.routing.uses import describe_by_uses

# An option of the facts that PhatGOOSE needs, not of the router itself.
GATE_STEPS = "num_steps"


def add_router_options(parser: ArgumentParser, *, with_tasks: bool = False) -> None:
    """Add the options of each router that a command can use.

    Args:
        parser: the command's parser.
        with_tasks: whether the command has tasks; some routers need examples of them.
    """
    for name in ROUTERS if with_tasks else list_ready_routers():
        if list_options(name):
            parser.add_class_arguments(ROUTERS[name].config, name)
    if with_tasks:
        parser.add_argument(
            f"--phatgoose.{GATE_STEPS}",
            type=int | None,
            help="Training steps of PhatGOOSE's gates; if not given: 5 epochs of the largest task, "
            "at least 20 and at most 200",
        )
    parser.add_argument(
        "--combine",
        type=Literal["factors", "outputs"] | None,
        help="Combine a token's experts by their factors (before the layer's product) or by their outputs; "
        "if not given: outputs, or the setting of a built model",
    )


def list_ready_routers() -> list[str]:
    """List the routers that can be built from a library alone; the others need examples of tasks."""
    return [name for name, kind in ROUTERS.items() if not kind.needs_tasks]


def describe_routers(*, with_tasks: bool = True) -> str:
    """List the routers that a command can use, by what each uses besides the request.

    Args:
        with_tasks: whether the command has tasks; some routers need examples of them.
    """
    if not with_tasks:
        return describe_by_uses(ROUTERS, list_ready_routers())
    picky = [name for name, kind in ROUTERS.items() if kind.needs_tasks]
    return f"{describe_by_uses(ROUTERS)} ({', '.join(picky)} need training examples in --tasks)"
