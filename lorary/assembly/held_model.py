"""The attributes of a ``transformers`` model, for an object that holds one."""

import logging
from typing import TYPE_CHECKING, Any, NoReturn, Self

import torch
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from lorary.models import BaseModel


class _Misnamed(logging.Filter):
    """Suppresses the message of pipelines that a class they do not know is not supported."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "The model 'RoutedModel' is not supported for" not in str(record.msg)


logging.getLogger("transformers.pipelines.base").addFilter(_Misnamed())


class HeldModel:
    """An object that holds a base model, and has its most common attributes.

    Args:
        base: the base model.
    """

    def __init__(self, base: BaseModel):
        self.base = base

    @property
    def model(self) -> PreTrainedModel:
        """The ``transformers`` model with the experts.

        Its own calls and ``generate`` route too, by the current router. A request router
        chooses from the whole of ``input_ids``, each row as one request, and keeps the choice
        for calls that continue with the same cache.
        """
        return self.base.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base model's tokenizer; ``BaseModelError`` if it was not given and has no local files."""
        return self.base.tokenizer

    @property
    def config(self) -> PreTrainedConfig:
        """The base model's configuration."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the base model's weights."""
        return self.model.dtype

    @property
    def generation_config(self) -> GenerationConfig | None:
        """The base model's preferences for generating, which ``generate`` follows with ``input_ids`` only."""
        return self.model.generation_config

    @property
    def input_modalities(self) -> Any:
        """The kinds of the base model's inputs, which pipelines show."""
        return self.model.input_modalities

    @property
    def output_modalities(self) -> Any:
        """The kinds of the base model's outputs, which pipelines show."""
        return self.model.output_modalities

    def can_generate(self) -> bool:
        """Tell pipelines that the model generates."""
        return True

    def eval(self) -> Self:
        """Put the model into evaluation mode, in which it is loaded."""
        self.model.eval()
        return self

    # Type checkers must not take every name for an attribute.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            # Users, and pipelines of transformers, try what a PreTrainedModel has.
            message = f"{type(self).__name__} has no attribute {name!r}"
            if hasattr(PreTrainedModel, name):
                message += ": the transformers model has it, and routes as well: pass or use model.model"
            raise AttributeError(message)
