"""Warnings of this package as plain lines, without the place in its code."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Within this context, warnings that lorary gives are printed as ``warning: …``; others are unchanged."""
    usual = warnings.formatwarning

    def write(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if _PACKAGE in Path(filename).resolve().parents:
            return f"warning: {message}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = write
    try:
        yield
    finally:
        warnings.formatwarning = usual
