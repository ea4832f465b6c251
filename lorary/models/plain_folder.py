"""Writing a model as a plain ``transformers`` folder."""

import copy
from pathlib import Path

from transformers import GenerationConfig, PreTrainedModel

from lorary.errors import BaseModelError
from lorary.models.quiet import without_progress_bars


def write_plain(model: PreTrainedModel, folder: Path) -> None:
    """Write a model's weights and settings; the model is not changed.

    ``transformers`` refuses to save a generation configuration that sets ``temperature``, or another number
    for sampling, without ``do_sample``. Such a configuration is saved with ``do_sample=True``.

    Args:
        model: the model.
        folder: the folder to write to.

    Raises:
        BaseModelError: if ``transformers`` refuses its settings for another reason; nothing is written then.
    """
    own = model.generation_config
    try:
        model.generation_config = _mend(own, type(model).__name__)
        with without_progress_bars():
            model.save_pretrained(folder)
    finally:
        model.generation_config = own


def _mend(config: GenerationConfig | None, name: str) -> GenerationConfig | None:
    if config is None:
        return None
    try:
        config.validate(strict=True)
        return config
    except ValueError:
        mended = copy.deepcopy(config)
        mended.do_sample = True
    try:
        mended.validate(strict=True)
    except ValueError as error:
        raise BaseModelError(f"the generation configuration of {name} cannot be saved: {error}") from error
    return mended
