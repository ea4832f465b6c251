"""The options that say which base model a command loads, and how experts are routed on it."""

from collections.abc import Collection, Sequence
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from lorary.facts import FACTS, list_task_facts
from lorary.files import quote
from lorary.routing import ROUTERS, RouterConfig, configure_router
from lorary.routing.named import list_options


def add_router_options(parser: ArgumentParser, *, with_tasks: bool = False) -> None:
    """Add what configures each router that a command can use.

    Args:
        parser: the command's.
        with_tasks: whether it has tasks, from which some routers learn what they need.
    """
    for name in ROUTERS if with_tasks else list_ready_routers():
        if list_options(name):
            parser.add_class_arguments(ROUTERS[name].config, name)
    parser.add_argument(
        "--combine",
        type=Literal["factors", "outputs"] | None,
        help="What of a token's experts is put together: their factors before, or their outputs after "
        "(as it is if not given)",
    )


def list_ready_routers() -> list[str]:
    """List the routers that can be built from a library alone; the others need what only data can tell."""
    return [name for name in ROUTERS if not list_task_facts([name])]


def describe_routers() -> str:
    """List all routers, with a note on those that need examples of tasks."""
    ready = list_ready_routers()
    learned = [name for name in ROUTERS if name not in ready]
    return f"{', '.join(ready)}; from training examples of --tasks also {', '.join(learned)}"


def refuse_unused_options(options: Namespace, routers: Collection[str]) -> None:
    """Refuse options of a router that does not decide.

    Args:
        options: the command's.
        routers: those that do.

    Raises:
        ValueError: naming the router.
    """
    for name, kind in ROUTERS.items():
        if (
            name not in routers
            and configure_router(name, vars(options.get(name, Namespace()))) != kind.config()
        ):
            raise ValueError(f"{quote(name)} has options here, but does not decide: say --router {name}")


def read_router_options(
    options: Namespace, router: str, names: Sequence[str], *, with_tasks: bool = False
) -> RouterConfig:
    """Build a router's configuration, before anything is loaded.

    Args:
        options: the command's.
        router: a key of ``ROUTERS``.
        names: the experts that it will choose from.
        with_tasks: whether the command has tasks, from which some routers learn what they need.

    Raises:
        ValueError: if there is no such router, an option is out of range or does not suit the experts, or the
            router needs more than the command has.
        UnknownExpert: if an option names an expert that is not among them.
    """
    config = configure_router(router, vars(options.get(router, Namespace())))
    given = sorted(name for name in config.needs if FACTS[name].needs_tasks)
    if given and not with_tasks:
        raise ValueError(
            f"router {quote(router)} needs the {given[0]} of every expert, which only `lorary eval` and "
            f"`lorary report` find, from --tasks; in Python, {FACTS[given[0]].advice} and hand them to "
            f"load_model({given[0]}=...). "
            f"Here you can use {', '.join(list_ready_routers())}"
        )
    config.check(names)
    return config
