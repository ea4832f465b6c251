"""Build the configuration of a router from the command's options."""

from collections.abc import Collection, Sequence
from typing import Any

from jsonargparse import Namespace

from lorary.cli.router_options import GATE_STEPS, list_ready_routers
from lorary.facts import FACTS
from lorary.files import quote
from lorary.routing import ROUTERS, RouterConfig, configure_router


def refuse_unused_options(options: Namespace, routers: Collection[str]) -> None:
    """Refuse options of a router that the command does not use.

    Args:
        options: the command's options.
        routers: names of the routers in use.

    Raises:
        ValueError: with the router's name.
    """
    for name, kind in ROUTERS.items():
        if name not in routers and (
            configure_router(name, _list_own(options, name)) != kind.config()
            or (name == "phatgoose" and read_gate_steps(options) is not None)
        ):
            raise ValueError(
                f"options of router {quote(name)} are given, but it is not used: add --router {name}, or "
                "leave them out"
            )


def read_router_options(
    options: Namespace, router: str, names: Sequence[str], *, with_tasks: bool = False
) -> RouterConfig:
    """Build a router's configuration, before anything is loaded.

    Args:
        options: the command's options.
        router: a key of ``ROUTERS``.
        names: the experts that it will choose from.
        with_tasks: whether the command has tasks; some routers need examples of them.

    Raises:
        ValueError: if there is no such router, an option is out of range or does not suit the experts, or the
            router needs examples and the command has no tasks.
        UnknownExpert: if an option names an expert that is not in ``names``.
    """
    config = configure_router(router, _list_own(options, router))
    given = sorted(name for name in config.needs if FACTS[name].needs_tasks)
    if given and not with_tasks:
        raise ValueError(
            f"router {quote(router)} needs the {given[0]} of every expert, which only `lorary eval` and "
            "`lorary report` compute, from --tasks; in Python, get them from lorary.facts.find_task_facts "
            "and pass them to load_model(facts=...). "
            f"This command has {', '.join(list_ready_routers())}"
        )
    config.check(names)
    return config


def read_gate_steps(options: Namespace) -> int | None:
    """Return the number of training steps of PhatGOOSE's gates; None if the option is not given.

    Raises:
        ValueError: if there are fewer than 1.
    """
    steps: int | None = vars(options.get("phatgoose", Namespace())).get(GATE_STEPS)
    if steps is not None and steps < 1:
        raise ValueError(f"--phatgoose.{GATE_STEPS} must be at least 1, found {quote(steps)}")
    return steps


def _list_own(options: Namespace, router: str) -> dict[str, Any]:
    """List the options of a router itself."""
    return {
        name: value for name, value in vars(options.get(router, Namespace())).items() if name != GATE_STEPS
    }
