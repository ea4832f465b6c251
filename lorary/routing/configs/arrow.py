"""Arrow's options."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorary.routing.configs.checks import InputNorm, refuse_faults, resolve_top_k
from lorary.routing.configs.contract import Needs


@dataclass(frozen=True, kw_only=True)
class ArrowConfig:
    """How Arrow turns inputs and prototypes into a choice of experts."""

    top_k: int | None = None
    """Number of experts that each token keeps at each layer; if not given: 4, or all if there are fewer."""
    temperature: float = 1.0
    """Divides the scores: a small value gives the best expert all the weight, a large one equal weights."""
    input_norm: InputNorm = "none"
    """What each input is divided by before it is scored: nothing, its norm, or its root mean square."""
    weigh_by_gain: bool = False
    """Multiply each score by the expert's gain, the factor by which it amplifies its prototype."""
    tie_inputs: bool = False
    """Use one prototype, and so one choice, for layers that receive the same input, such as q, k and v."""
    subtract_start: bool = False
    """Compute prototypes from what training changed of each expert's ``a``: the random values that it started
    from are subtracted, if the expert's card has their seed."""
    abstain: float | None = None
    """The base model's score, an additional term of the softmax over kept experts; null gives it no
    weight."""

    def __post_init__(self) -> None:
        refuse_faults(self)

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        if not self.tie_inputs and not self.subtract_start:
            return {"prototypes": {}}
        options = {"subtract_start": self.subtract_start}
        return {"tied_prototypes" if self.tie_inputs else "learned_prototypes": options}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if ``top_k`` is above their number.
        """
        resolve_top_k(self.top_k, len(names))
