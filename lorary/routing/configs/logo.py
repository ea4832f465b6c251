"""LoGo's options."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lorary.files import quote
from lorary.routing.configs.checks import refuse_faults, resolve_top_k
from lorary.routing.configs.contract import Needs

# As in the paper.
DEFAULT_TOP_K = 20
Measure = Literal["norm", "entropy"]
RunsOption = Literal["together", "each", "alone"]


@dataclass(frozen=True, kw_only=True)
class LogoConfig:
    """How LoGo turns experts' outputs at a prompt's last token into a mixture of experts."""

    top_k: int | None = None
    """Number of experts that each request keeps; if not given: 20, or all if there are fewer."""
    measure: Measure = "norm"
    """An expert's score: the norm of its output, or the inverse entropy of a softmax over its output."""
    place: str | None = None
    """Module path of the layer whose outputs are scored; if not given: the first layer with experts in the
    last block, such as its q_proj."""
    runs: RunsOption = "together"
    """How the prompt is read: with all experts active together, with each expert alone, or without
    experts."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        for name, kind in (("measure", Measure), ("runs", RunsOption)):
            known = get_args(kind)
            if getattr(self, name) not in known:
                yield f"{name} must be one of {', '.join(known)}, found {quote(getattr(self, name))}"

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        return {"factors": {}}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if ``top_k`` is above their number.
        """
        resolve_top_k(self.top_k, len(names), DEFAULT_TOP_K)
