"""Settings of a configuration that depend on the base model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lorary.adaptation.config import AdaptConfig
from lorary.adaptation.retrieval.table import choose_retrieval
from lorary.models import BaseModel


def complete_config(
    base: BaseModel, config: AdaptConfig, router_options: Mapping[str, Any] | None = None
) -> AdaptConfig:
    """Return a configuration with the retrieval that suits the base model, if it names none.

    Args:
        base: the base model.
        config: the configuration.
        router_options: options of the calibrated router.
    """
    if config.by is not None:
        return config
    return replace(config, by=choose_retrieval(base.is_encoder_decoder, router_options or {}))
