"""Suppressing the progress bars of ``transformers``, and lines that packages log at every call."""

import logging as python_logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import TextIOBase
from typing import TextIO

from transformers.utils import logging


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Within this context ``transformers`` draws no bars while it loads weights; downloads still do."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def without_conversion_bar() -> Iterator[None]:
    """Within this context ``tqdm`` bars on stderr are suppressed; all other text is printed.

    The conversion of GGUF files draws its bar even if progress bars of ``transformers`` are switched off.
    """
    with redirect_stderr(_WithoutBars(sys.stderr)):
        yield


class _WithoutBars(TextIOBase):
    """A text stream without the lines of ``tqdm``, which begin with a carriage return."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._is_in_bar = False

    def write(self, text: str) -> int:
        """Write text, unless it is a bar or the line feed after one."""
        if text.startswith("\r"):
            self._is_in_bar = True
        elif not (self._is_in_bar and text == "\n"):
            self._is_in_bar = False
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the underlying stream."""
        self._stream.flush()


def without_cast_notes() -> None:
    """Suppress what 8-bit layers of bitsandbytes log at every call, that their inputs become float16."""
    python_logging.getLogger("bitsandbytes.autograd._functions").setLevel(python_logging.ERROR)
