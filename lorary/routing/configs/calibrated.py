"""The options of calibrated routing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lorary.files import quote
from lorary.routing.configs.checks import refuse_faults, resolve_top_k
from lorary.routing.configs.contract import Needs
from lorary.routing.configs.generic_texts import find_generic_faults
from lorary.routing.option_types import LARGEST, SMALLEST

DEFAULT_TOP_K = 8
Fallback = Literal["general", "all", "base"]
FALLBACKS: Sequence[str] = get_args(Fallback)


@dataclass(frozen=True, kw_only=True)
class CalibratedConfig:
    """How calibrated routing turns a request into a choice of experts, without data from their tasks."""

    top_k: int | None = None
    """Number of experts that each request keeps; if not given: 8, or all if there are fewer."""
    temperature: float = 0.15
    """Divides the scores: a small value gives the best expert all the weight, a large one equal weights."""
    min_p: float = 0.01
    """Kept experts below this part of the best expert's weight are dropped, which saves the time that they
    would take; 0 drops none."""
    margin: float | None = 1.0
    """Difference between the best and the fourth score from which the kept experts get the whole weight. With
    a smaller difference they get a part, and the fallback gets the rest. Null: always the whole."""
    dead_zone: float = 0.0
    """Part of the margin, from 0 and below 1, up to which the fallback gets the whole weight. From there on
    the kept experts' part grows in proportion."""
    fallback: Fallback = "general"
    """What gets the rest of the weight: the general expert (all experts if there is
    none), all experts equally, or the base model."""
    most: float = 1.0
    """Largest part of the weight that the kept experts get together, from 0 to 1; the fallback gets
    the rest."""
    spread: float = 1.5
    """Sum of the weights if no expert stands out and all experts are the fallback; above 1, since their mean
    partly cancels."""
    depth: float | None = None
    """Part of the layers, from the first, that the decision uses. Below 1 the base model stops
    after these layers for the decision, which saves time before the first token. If not given: 0.2 if the
    random start of every expert is subtracted, else 1."""
    most_tokens: int | None = 32
    """Maximum number of a prompt's tokens that the decision uses, evenly spaced and including the last;
    null means all. Fewer tokens save time before the first token if there are many experts."""
    last_share: float = 0.25
    """Weight of the last token, after which the answer begins; the mean over all tokens has the rest."""
    ridge: float | None = None
    """Regularises the whitening of experts' outputs, as a share of their total variance on generic tokens;
    with a large value only the norm of an output counts. If not given: 0.001 for experts whose random start
    is subtracted, 0.01 for others."""
    subtract_start: bool = True
    """Whether scores use only what training changed of each expert's ``a``: the random values that it started
    from are subtracted, if the expert's card has their seed."""
    generic: Sequence[str] | None = None
    """Generic requests, as full prompts; null means that the base model generates some."""
    abstain: float | None = None
    """The base model's score, an additional term of the softmax over kept experts; null gives it no
    weight."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())
        # A list could be changed later, and the frozen options with it.
        object.__setattr__(self, "generic", None if self.generic is None else tuple(self.generic))

    def _find_faults(self) -> Iterator[str]:
        bounds = f"({SMALLEST:g} to {LARGEST:g})"
        if self.margin is not None and not SMALLEST <= self.margin <= LARGEST:
            yield f"margin must be above 0, or None for no margin, found {quote(self.margin)} {bounds}"
        if not 0 <= self.dead_zone < 1:
            yield f"dead_zone must be at least 0 and below 1, found {quote(self.dead_zone)}"
        if self.fallback not in FALLBACKS:
            yield f"fallback must be one of {', '.join(FALLBACKS)}, found {quote(self.fallback)}"
        if not 0 <= self.min_p <= 1:
            yield f"min_p must be in [0, 1], found {quote(self.min_p)}"
        if not 0 <= self.most <= 1:
            yield f"most must be in [0, 1], found {quote(self.most)}"
        if self.depth is not None and not 0 < self.depth <= 1:
            yield f"depth must be above 0 and at most 1, found {quote(self.depth)}"
        if self.most_tokens is not None and self.most_tokens < 1:
            yield f"most_tokens must be at least 1, or None for all, found {quote(self.most_tokens)}"
        if not 0 <= self.spread <= LARGEST:
            yield f"spread must be at least 0, found {quote(self.spread)} (at most {LARGEST:g})"
        if not 0 <= self.last_share <= 1:
            yield f"last_share must be in [0, 1], found {quote(self.last_share)}"
        if self.ridge is not None and not SMALLEST <= self.ridge <= LARGEST:
            yield f"ridge must be above 0, found {quote(self.ridge)} {bounds}"
        yield from find_generic_faults(self.generic)

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        start = {"subtract_start": self.subtract_start}
        options = {"generic": self.generic, "ridge": self.ridge, "last_share": self.last_share}
        return {"learned": start, "calibrations": {**options, **start}}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if ``top_k`` is above their number.
        """
        resolve_top_k(self.top_k, len(names), DEFAULT_TOP_K)
