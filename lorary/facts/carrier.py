"""What facts are found on: a base model that carries experts."""

from typing import Protocol

from lorary.models import BaseModel, ExpertStack


class Carrier(Protocol):
    """A base model with experts on it, such as a ``RoutedModel``."""

    base: BaseModel
    """The base model; its layers are those of the stack."""

    @property
    def stack(self) -> ExpertStack:
        """The experts on it."""
        ...
