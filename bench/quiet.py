"""Keeping other libraries' notes and bars out of the tables."""

import warnings

from transformers.utils import logging as transformers_logging


def quieten() -> None:
    """Silence the messages of PEFT and transformers while they load; for the whole process."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module=r"peft\.")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
