"""What the options of a router are."""

from collections.abc import Mapping, Sequence
from dataclasses import Field
from typing import Any, ClassVar, Protocol

Needs = Mapping[str, Mapping[str, Any]]
"""Facts that a router is built from -> the options that each depends on; most depend on none. The table of
facts is ``lorary.facts.FACTS``."""


class RouterConfig(Protocol):
    """A router's options: a frozen dataclass, whose fields are the options."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from, with these options."""
        ...

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit the experts of these names; ``ValueError`` if not."""
        ...
