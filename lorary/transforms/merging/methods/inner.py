"""Methods that apply another method in a smaller space: the choice and the options of that inner method."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from lorary.errors import suggest
from lorary.files import quote
from lorary.transforms.merging.kind import MergeKind
from lorary.transforms.merging.methods.plain import PLAIN
from lorary.transforms.merging.options import build_config


@runtime_checkable
class HasInner(Protocol):
    """The configuration of a method with an inner method."""

    @property
    def inner(self) -> str:
        """The inner method's name."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """Its options."""
        ...


def check_inner(method: str, config: HasInner) -> None:
    """Refuse an inner method that is unknown or needs inputs, and options that it does not have.

    Raises:
        ValueError: with the known methods, or with all faults of the options.
    """
    if config.inner not in PLAIN or PLAIN[config.inner].needs_inputs:
        known = [name for name, kind in PLAIN.items() if not kind.needs_inputs]
        raise ValueError(
            f"inner must be a method that {method} can use, found {quote(config.inner)}: "
            f"{suggest(config.inner, known)}"
        )
    find_inner_config(config)


def find_inner(config: HasInner) -> MergeKind:
    """Return the inner method."""
    return PLAIN[config.inner]


def find_inner_config(config: HasInner) -> Any:
    """Build the inner method's configuration."""
    return build_config(config.inner, PLAIN[config.inner].config, config.options)
