"""Reporting long work, if there is no other listener."""

import logging
import sys

logger = logging.getLogger("lorary")


def log_work(what: str, num_done: int, num_steps: int) -> None:
    """Log long work; a terminal gets a line even if the log is not shown, as by default."""
    if num_done == 0:
        logger.info(what)
        if num_steps == 0 and sys.stderr.isatty() and not logger.isEnabledFor(logging.INFO):
            print(f"lorary: {what}", file=sys.stderr)
