"""Calibrated routing: a request goes to the experts to which it is more unusual than generic requests are.

Shape letters: T tokens, B requests, E experts, R rank, I layer input, K experts kept per request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.files import quote
from lorary.routing.calibrated import SMALLEST_DEVIATION, average_layers, log_deviations
from lorary.routing.material import Needs, RequestMaterial
from lorary.routing.option_types import LARGEST, SMALLEST, require_types
from lorary.routing.request import RequestRouter
from lorary.routing.top_k import check_choice, check_top_k, find_choice_faults, keep_top_k, resolve_top_k

DEFAULT_TOP_K = 8
RIVAL = 3
"""The best expert is held against the fourth: near twins may come first together and both be right."""


@dataclass(frozen=True, kw_only=True)
class CalibratedConfig:
    """How calibrated routing turns a request into a choice of experts, with no data of their tasks."""

    top_k: int | None = None
    """How many experts each request keeps; 8, or all if there are fewer, if not given."""
    temperature: float = 0.15
    """Divides the scores: near 0 the best expert takes all, a large one makes the kept ones equal."""
    margin: float | None = 0.5
    """How far above the fourth the best score must be for the kept experts to get the whole request; where it
    is less, they get as much less, and all experts alike share the rest. Null always gives them the whole."""
    spread: float = 1.5
    """Sum of the weights if a request is left to all experts; above 1, since their mean partly cancels."""
    last_share: float = 0.25
    """How much the last token, where the answer begins, counts over and above the mean of all."""
    ridge: float = 0.01
    """How much of what generic tokens do is added in all directions, as a share of its variance; a great
    one measures what experts add by its mere length."""
    generic: Sequence[str] | None = None
    """Generic requests, as full prompts; null means that the base model generates some."""
    abstain: float | None = None
    """The base model's score, which competes with the kept experts'; null gives it no share."""

    def __post_init__(self) -> None:
        require_types(self)
        faults = find_choice_faults(self.top_k, self.temperature, self.abstain)
        bounds = f"({SMALLEST:g} to {LARGEST:g})"
        if self.margin is not None and not SMALLEST <= self.margin <= LARGEST:
            faults.append(
                f"margin must be above 0, or None to be always sure, found {quote(self.margin)} {bounds}"
            )
        if not 0 <= self.spread <= LARGEST:
            faults.append(f"spread must be at least 0, found {quote(self.spread)} (at most {LARGEST:g})")
        if not 0 <= self.last_share <= 1:
            faults.append(f"last_share must lie in [0, 1], found {quote(self.last_share)}")
        if not SMALLEST <= self.ridge <= LARGEST:
            faults.append(f"ridge must be above 0, found {quote(self.ridge)} {bounds}")
        if self.generic is not None and not all(self.generic):
            faults.append("generic must be a list of texts, none of them empty")
        elif self.generic is not None and len(self.generic) < 2:
            faults.append(
                "generic must hold at least two texts; leave it out to let the base model write some"
            )
        if faults:
            raise ValueError("; ".join(faults))
        # A list would make the frozen options change with it.
        object.__setattr__(self, "generic", None if self.generic is None else tuple(self.generic))

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        options = {"generic": self.generic, "ridge": self.ridge, "last_share": self.last_share}
        return {"factors": {}, "calibrations": options}

    def check(self, names: Sequence[str]) -> None:
        """Refuse options that cannot work with these experts.

        Raises:
            ValueError: if ``top_k`` is above their number.
        """
        resolve_top_k(self.top_k, len(names), DEFAULT_TOP_K)


class DeviationMeter:
    """Measures how unusual requests are to experts, before that is held against generic requests.

    Args:
        a: module path -> down-projections ``[E, R, I]``; not copied.
        readers: module path -> ``[E, R, R]``, from `whiten_readings`.
        offsets: module path -> ``[E, R]``, likewise.
        last_share: how much a request's last token counts over and above the mean of all.
    """

    skips_first = True

    def __init__(
        self,
        a: Mapping[str, Tensor],
        readers: Mapping[str, Tensor],
        offsets: Mapping[str, Tensor],
        *,
        last_share: float = 0.25,
    ):
        self.places = tuple(a)
        self.a, self.readers, self.offsets = dict(a), dict(readers), dict(offsets)
        self.last_share = last_share

    def describe(self, place: str, x: Tensor) -> Tensor:
        """Measure how unusual tokens ``[T, I]`` are: ``[T, E]``."""
        return log_deviations(x, self.a[place], self.readers[place], self.offsets[place])


class CalibratedRouter(DeviationMeter):
    """Chooses by how unusual requests are to experts, in units of generic requests; a ``RequestRouter``.

    Args:
        a: module path -> down-projections ``[E, R, I]``; not copied.
        readers: module path -> ``[E, R, R]``, from `whiten_readings`; zeros for an expert without the layer.
        offsets: module path -> ``[E, R]``, likewise.
        generic: module path -> mean and standard deviation, over generic requests, of what ``describe``
            averages to, ``[E]`` each.
        last_share: how much a request's last token counts over and above the mean of all.
        top_k: K, how many experts each request keeps.
        temperature: divides the scores before the softmax.
        abstain: the base model's score, see `keep_top_k`.
        margin: how far above the fourth the best score must be, see `trust_margin`; None trusts always.
        spread: what all experts together weigh in a request that is left to them.

    Raises:
        ValueError: if an option is out of range.
    """

    def __init__(
        self,
        a: Mapping[str, Tensor],
        readers: Mapping[str, Tensor],
        offsets: Mapping[str, Tensor],
        generic: Mapping[str, tuple[Tensor, Tensor]],
        *,
        last_share: float = 0.25,
        top_k: int = 1,
        temperature: float = 1.0,
        abstain: float | None = None,
        margin: float | None = None,
        spread: float = 1.0,
    ):
        super().__init__(a, readers, offsets, last_share=last_share)
        check_top_k(top_k, len(next(iter(a.values()))))
        check_choice(temperature, abstain)
        self.generic = dict(generic)
        self._has = {path: rows.flatten(1).any(1) for path, rows in readers.items()}
        self.top_k, self.temperature, self.abstain = top_k, temperature, abstain
        self.margin, self.spread = margin, spread

    def choose(self, averages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Choose for requests with these mean deviations, ``[B, E]`` by path: ``[B, K]`` and ``[B, K]``.

        K is ``top_k``, or E with a margin, since any request may be left to all experts in part.
        """
        scores = {}
        for path, found in averages.items():
            mean, deviation = self.generic[path]
            scores[path] = (found - mean) / deviation.clamp_min(SMALLEST_DEVIATION)
        overall = average_layers(scores, self._has)  # [B, E]
        indices, weights = keep_top_k(overall, self.top_k, self.temperature, self.abstain)
        if self.margin is None:
            return indices, weights
        trust = trust_margin(overall, self.margin)
        everyone = (1 - trust) * self.spread / overall.shape[1]
        shared = everyone.expand(overall.shape).scatter_add(1, indices, trust * weights)
        return torch.arange(overall.shape[1], device=overall.device).expand(overall.shape), shared


def trust_margin(scores: Tensor, margin: float) -> Tensor:
    """Estimate the confidence of a choice: whether the best expert stands out.

    Args:
        scores: ``[B, E]``; a NaN counts as the worst.
        margin: how far above the fourth score the best must be to be trusted wholly.

    Returns:
        From 0 to 1, ``[B, 1]``; 1 where there are no four experts.
    """
    if scores.shape[1] <= RIVAL:
        return torch.ones_like(scores[:, :1])
    finite = torch.nan_to_num(scores, nan=torch.finfo(scores.dtype).min)
    best = finite.topk(RIVAL + 1, dim=1).values
    return ((best[:, :1] - best[:, RIVAL:]) / margin).clamp(0, 1)


def build_calibrated(config: CalibratedConfig, material: RequestMaterial) -> RequestRouter:
    """Build a model's calibrated router.

    Raises:
        ValueError: if the material lacks what the router needs, or has fewer experts than ``top_k``.
    """
    if not material.layers:
        raise ValueError("this router needs what is known at each layer with experts, found no layer")

    def take(field: str) -> dict[str, Tensor]:
        return {path: layer.take(field) for path, layer in material.layers.items()}

    means, deviations = take("generic_means"), take("generic_deviations")
    return CalibratedRouter(
        take("a"),
        take("readers"),
        take("offsets"),
        {path: (rows, deviations[path]) for path, rows in means.items()},
        last_share=config.last_share,
        top_k=resolve_top_k(config.top_k, material.num_experts, DEFAULT_TOP_K),
        temperature=config.temperature,
        abstain=config.abstain,
        margin=config.margin,
        spread=config.spread,
    )
