"""Options of a router that `lorary calibrate` tuned for a library."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lorary.cli.printing import print_line
from lorary.library import Library
from lorary.library.view import LibraryView
from lorary.routing import ROUTERS, RouterConfig, configure_router


def use_tuned(config: RouterConfig, router: str, library: Library | LibraryView) -> RouterConfig:
    """Return a configuration with the options that were tuned for the library, and say so.

    Options of the command that differ from the router's defaults have precedence.

    Raises:
        ValueError: if the tuned options are not the router's.
    """
    tuned = (library.library if isinstance(library, LibraryView) else library).tuned(router)
    default = ROUTERS[router].config()
    free = {
        name: own
        for name, own in tuned.items()
        if getattr(config, name, None) == getattr(default, name, None)
    }
    if not free:
        return config
    configure_router(router, free)
    print_line(
        f"router {router} with options tuned for this library: {describe_options(free)} "
        "(`lorary calibrate --reset` removes them)",
        stderr=True,
    )
    return replace(config, **free)


def describe_options(options: Mapping[str, Any]) -> str:
    """Return options as text, such as ``margin 0.25, fallback all``."""
    return ", ".join(f"{name} {'null' if own is None else own}" for name, own in options.items())
