"""The number of blocks of a base model, from its configuration on this machine."""

import os
from typing import Any

from lorary.errors import FormatError
from lorary.files import parse_json_object, read_at_most

CONFIG_NAME = "config.json"
# Keys of the number in configurations, and of the text model's configuration in multimodal models.
_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_PARTS = ("text_config", "llm_config", "language_config")


def count_blocks(base_model: str) -> int | None:
    """Return the number of blocks of a base model, without loading it and without network access.

    Args:
        base_model: a folder, or a hub id that was downloaded before.

    Returns:
        The number; None if there is no configuration with it on this machine.
    """
    path = os.path.join(base_model, CONFIG_NAME) if os.path.isdir(base_model) else _find_cached(base_model)
    if not base_model or path is None:
        return None
    try:
        config = parse_json_object(read_at_most(path), path)
    except (OSError, FormatError):
        return None  # loading the model reports the error
    return _find_count(config)


def _find_cached(base_model: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(base_model, CONFIG_NAME)
    except (HFValidationError, OSError):
        return None
    return path if isinstance(path, str) else None


def _find_count(config: dict[str, Any]) -> int | None:
    for part in (config, *(config.get(name) for name in _PARTS)):
        for name in _COUNTS:
            count = part.get(name) if isinstance(part, dict) else None
            if type(count) is int and count > 0:
                return count
    return None
