"""Options of the default router that `lorary calibrate` tuned for a library."""

import logging
from collections.abc import Mapping
from typing import Any

from lorary.experts import Expert
from lorary.facts.fact import OnWork
from lorary.library import Library
from lorary.library.view import LibraryView

logger = logging.getLogger("lorary")


def find_tuned(library: Mapping[str, Expert], router: str | None) -> dict[str, Any]:
    """Return the options that were tuned for a router on these experts; empty without a library."""
    whole = library.library if isinstance(library, LibraryView) else library
    return whole.tuned(router) if router is not None and isinstance(whole, Library) else {}


def tell_tuned(router: str, options: Mapping[str, Any], on_work: OnWork | None) -> None:
    """Report that tuned options are used, to the listener or in the log."""
    told = ", ".join(f"{name}={own!r}" for name, own in options.items())
    text = f"router {router!r} with options tuned for this library: {told}"
    if on_work is None:
        logger.info(text)
    else:
        on_work(text, 0, 0)
