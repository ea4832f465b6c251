"""The model that facts are computed on: a base model with experts attached."""

from typing import Protocol

from lorary.models import BaseModel, ExpertStack


class Carrier(Protocol):
    """A base model with experts attached, such as a ``RoutedModel``."""

    base: BaseModel
    """The base model that the experts of ``stack`` are attached to."""

    @property
    def stack(self) -> ExpertStack:
        """The attached experts."""
        ...
