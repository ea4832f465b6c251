"""SEQR's options."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorary.routing.configs.checks import InputNorm, check_top_k, refuse_faults
from lorary.routing.configs.contract import Needs
from lorary.routing.configs.generic_texts import find_generic_faults


@dataclass(frozen=True, kw_only=True)
class SeqrConfig:
    """How SEQR turns the norms of experts' outputs into a choice of experts."""

    top_k: int = 1
    """Number of experts that each token keeps at each layer; in the paper, the one with the largest score."""
    temperature: float = 1.0
    """Divides the scores: a small value gives the best expert all the weight, a large one equal weights."""
    standardise: bool = True
    """Whether an expert's norm is standardised by the mean and deviation of its own norms on generic text."""
    input_norm: InputNorm = "none"
    """What each input is divided by before it is scored: nothing, its norm, or its root mean square."""
    generic: Sequence[str] | None = None
    """Generic requests, as full prompts; null means that the base model generates some."""
    abstain: float | None = None
    """The base model's score, an additional term of the softmax over kept experts; null gives it no
    weight."""

    def __post_init__(self) -> None:
        refuse_faults(self, find_generic_faults(self.generic))
        # A list could be changed later, and the frozen options with it.
        object.__setattr__(self, "generic", None if self.generic is None else tuple(self.generic))

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        if not self.standardise:
            return {"factors": {}}
        return {"factors": {}, "norms": {"generic": self.generic, "input_norm": self.input_norm}}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if ``top_k`` is above their number.
        """
        check_top_k(self.top_k, len(names))
