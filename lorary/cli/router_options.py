"""The options of the routers."""

from collections.abc import Collection, Sequence
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from lorary.facts import FACTS, list_task_facts
from lorary.files import quote
from lorary.routing import ROUTERS, RouterConfig, configure_router
from lorary.routing.named import list_options


def add_router_options(parser: ArgumentParser, *, with_tasks: bool = False) -> None:
    """Add the options of each router that a command can use.

    Args:
        parser: the command's parser.
        with_tasks: whether the command has tasks; some routers need examples of them.
    """
    for name in ROUTERS if with_tasks else list_ready_routers():
        if list_options(name):
            parser.add_class_arguments(ROUTERS[name].config, name)
    parser.add_argument(
        "--combine",
        type=Literal["factors", "outputs"] | None,
        help="Combine a token's experts by their factors (before the layer's product) or by their outputs; "
        "if not given: outputs, or a built model's own",
    )


def list_ready_routers() -> list[str]:
    """List the routers that can be built from a library alone; the others need examples of tasks."""
    return [name for name in ROUTERS if not list_task_facts([name])]


def describe_routers() -> str:
    """List all routers, and mark those that need examples of tasks."""
    ready = list_ready_routers()
    learned = [name for name in ROUTERS if name not in ready]
    return f"{', '.join(ready)}; with training examples in --tasks also {', '.join(learned)}"


def refuse_unused_options(options: Namespace, routers: Collection[str]) -> None:
    """Refuse options of a router that the command does not use.

    Args:
        options: the command's options.
        routers: names of the routers in use.

    Raises:
        ValueError: with the router's name.
    """
    for name, kind in ROUTERS.items():
        if (
            name not in routers
            and configure_router(name, vars(options.get(name, Namespace()))) != kind.config()
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
    config = configure_router(router, vars(options.get(router, Namespace())))
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
