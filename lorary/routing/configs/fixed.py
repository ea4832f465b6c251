"""The options of fixed routing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lorary.errors import UnknownExpert
from lorary.files import quote
from lorary.routing.configs.contract import Needs
from lorary.routing.option_types import LARGEST, require_types

WHERE = "this model"


@dataclass(frozen=True, kw_only=True)
class FixedConfig:
    """The experts that every token uses, and their weights."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of each expert by name: any number, also negative, up to 1e30. Other experts are not used."""

    def __post_init__(self) -> None:
        require_types(self)
        wrong = {name: weight for name, weight in self.weights.items() if not abs(weight) <= LARGEST}
        if wrong:
            raise ValueError(f"weights must be finite, found {quote(wrong)} (at most {LARGEST:g})")

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        return {}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if no expert has a weight.
            UnknownExpert: if a name is not that of one of the experts.
        """
        if not self.weights:
            raise ValueError(
                "fixed routing needs a weight for at least one expert: pass weights={name: weight}"
            )
        for name in self.weights:
            if name not in names:
                raise UnknownExpert(name, names, WHERE)


@dataclass(frozen=True, kw_only=True)
class SingleConfig:
    """The one expert that every token uses."""

    expert: str | None = None
    """Name of the expert."""

    def __post_init__(self) -> None:
        require_types(self)

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        return {}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if no expert is named.
            UnknownExpert: if it is not one of the experts.
        """
        if self.expert is None:
            raise ValueError("single routing needs the name of an expert: pass expert=name")
        if self.expert not in names:
            raise UnknownExpert(self.expert, names, WHERE)
