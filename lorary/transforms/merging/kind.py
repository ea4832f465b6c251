"""The properties of a merging method."""

from dataclasses import dataclass
from typing import Literal

from lorary.transforms.merging.layer import MergeFunction
from lorary.transforms.merging.spaces import Space

Base = Literal["origin", "first", "listed", "joins"]
"""Role of a recipe's base model, whose own weight change is zero. ``origin``: weight changes are relative to
it. ``first``: it is the first expert. ``listed``: it is an expert if the recipe lists it. ``joins``: it is
always an expert."""


@dataclass(frozen=True, kw_only=True)
class MergeKind:
    """A merging method and its properties."""

    config: type
    """The dataclass of its options."""
    merge: MergeFunction
    """``(layer, config) -> merged weight change``."""
    spaces: tuple[Space, ...] = ("delta",)
    """Spaces in which it can be applied, the default first."""
    default_weight: Literal["mean", "one", "none"] = "mean"
    """An expert's default weight: ``mean`` is ``1 / E``, ``one`` is 1, ``none``: the method has no
    weights."""
    has_negative_weights: bool = True
    """Whether weights may be negative."""
    own_options: tuple[str, ...] = ()
    """Options that can have a different value for each expert, such as ``density``."""
    base: Base = "origin"
    """Role of a recipe's base model, which can also be an expert."""
    keeps_full_rank: bool = False
    """Whether the default rank is ``"full"``, without truncation."""
    min_experts: int = 1
    """Smallest number of experts."""
    max_experts: int | None = None
    """Largest number of experts; None for no limit."""
    needs_inputs: bool = False
    """Whether it needs the inputs of the experts' layers, as Gram matrices or activations."""
    entry_nanoseconds: float = 0.0
    """Time of one core for one entry of one expert's weight change, for estimates; 0 if dense weight changes
    are not formed."""
