"""What a merging method's name stands for."""

from dataclasses import dataclass
from typing import Literal

from lorary.transforms.merging.layer import MergeFunction
from lorary.transforms.merging.spaces import Space

Base = Literal["origin", "first", "listed", "joins"]
"""``origin``: weight changes are counted from it. ``first``: it is the first expert. ``listed``: it is an
expert like the others if the recipe lists it; ``joins``: also if it does not. The base model itself changes
nothing."""


@dataclass(frozen=True, kw_only=True)
class MergeKind:
    """A merging method, and what must be known about it before it runs."""

    config: type
    """The dataclass of its options."""
    merge: MergeFunction
    """``(layer, config) -> merged weight change``."""
    spaces: tuple[Space, ...] = ("delta",)
    """Where it can work, the default first."""
    default_weight: Literal["mean", "one", "none"] = "mean"
    """An expert's weight unless given: ``1 / E`` or 1. With ``none`` the method takes no weights."""
    has_negative_weights: bool = True
    """Weights below zero make sense."""
    own_options: tuple[str, ...] = ()
    """The options that every expert can have another value of, such as ``density``."""
    base: Base = "origin"
    """What it means that a recipe's base model, or an expert given as such, is among the models."""
    keeps_full_rank: bool = False
    """Nothing is cut unless a rank is asked for."""
    min_experts: int = 1
    """Fewer cannot be merged."""
    max_experts: int | None = None
    """More cannot be merged; None sets no bound."""
    needs_inputs: bool = False
    """It looks at what the experts' layers were given, as Gram matrices or activations."""
    entry_nanoseconds: float = 0.0
    """How long a core takes for one entry of one expert's weight change, to estimate; 0 if none is formed."""
