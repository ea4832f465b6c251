"""Options of a router that `lorary calibrate` tuned for a library."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jsonargparse import Namespace

from lorary.cli.printing import print_line
from lorary.library import Library
from lorary.library.view import LibraryView
from lorary.routing import RouterConfig, configure_router


def use_tuned(
    config: RouterConfig, router: str, library: Library | LibraryView, options: Namespace
) -> RouterConfig:
    """Return a configuration with the options tuned for the library, and print them.

    Options that the user gave take precedence, even with the values of the router's defaults.

    Args:
        config: the router's configuration.
        router: its name.
        library: the library.
        options: the command's options.

    Raises:
        ValueError: if the tuned options are not the router's.
    """
    tuned = (library.library if isinstance(library, LibraryView) else library).tuned(router)
    given = options.get("given", ())
    free = {name: own for name, own in tuned.items() if f"{router}.{name}" not in given}
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
