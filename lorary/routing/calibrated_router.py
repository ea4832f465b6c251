"""Calibrated routing: a request uses the experts that react to it more strongly than to generic requests.

Shape letters: T tokens, B requests, E experts, R rank, I layer input, K experts kept per request.
"""

from collections.abc import Mapping
from math import ceil

import torch
from torch import Tensor

from lorary.routing.calibrated import (
    SMALLEST_DEVIATION,
    average_layers,
    compute_readings,
    log_deviations,
)
from lorary.routing.configs.calibrated import DEFAULT_TOP_K, CalibratedConfig, Fallback
from lorary.routing.configs.checks import check_choice, check_top_k, resolve_top_k
from lorary.routing.doubt import (
    fall_back_on_all,
    fall_back_on_general,
    resolve_fallback,
    trust_margin,
)
from lorary.routing.material import RequestMaterial
from lorary.routing.request import RequestRouter
from lorary.routing.top_k import drop_unlikely, keep_top_k

DEPTH_BY_LEARNED = 0.2
"""The part of the layers that is enough for experts whose random start is subtracted."""


class DeviationMeter:
    """Measures how strongly experts react to requests, before the comparison with generic requests.

    Args:
        a: module path -> down-projections ``[E, R, I]``; not copied.
        whiteners: module path -> ``[E, R, R]``, from `whiten_readings`.
        offsets: module path -> ``[E, R]``, from `whiten_readings`.
        last_share: weight of a request's last token; the mean over all tokens has the rest.
        most_tokens: maximum number of a request's tokens that are measured, see ``Requests.weigh_cells``.
    """

    skips_first = True

    def __init__(
        self,
        a: Mapping[str, Tensor],
        whiteners: Mapping[str, Tensor],
        offsets: Mapping[str, Tensor],
        *,
        last_share: float = 0.25,
        most_tokens: int | None = None,
    ):
        self.places = tuple(a)
        self.a, self.whiteners, self.offsets = dict(a), dict(whiteners), dict(offsets)
        self.last_share, self.most_tokens = last_share, most_tokens

    def describe(self, place: str, x: Tensor) -> Tensor:
        """Return the experts' reactions ``[T, E]`` to tokens ``[T, I]``, see `log_deviations`."""
        readings = compute_readings(x, self.a[place])
        return log_deviations(readings, self.whiteners[place], self.offsets[place])


class CalibratedRouter(DeviationMeter):
    """A ``RequestRouter`` by experts' reactions to a request, as z-scores over generic requests.

    Args:
        a: module path -> down-projections ``[E, R, I]``; not copied.
        whiteners: module path -> ``[E, R, R]``, from `whiten_readings`; zeros if an expert lacks the layer.
        offsets: module path -> ``[E, R]``, from `whiten_readings`.
        generic: module path -> mean and standard deviation, over generic requests, of a request's average of
            ``describe``, ``[E]`` each.
        last_share: weight of a request's last token; the mean over all tokens has the rest.
        most_tokens: maximum number of a request's tokens that are measured; None for all.
        top_k: K, the number of experts that each request keeps.
        temperature: divides the scores before the softmax.
        abstain: the base model's score, see `keep_top_k`.
        min_p: kept experts below this part of the best one's weight are dropped, see `drop_unlikely`.
        margin: difference between the best and the fourth score for full trust, see `trust_margin`; None for
            full trust always.
        dead_zone: part of the margin without any trust.
        fallback: what gets the part of a request that is not trusted; ``"general"`` needs a general expert.
        most: largest trusted part of a request.
        spread: sum of all experts' weights in a request without any trust, if all experts are the fallback.
        general: index of the general expert, which is not one of the E experts; None if there is none.

    Raises:
        ValueError: if an option is out of range.
    """

    def __init__(
        self,
        a: Mapping[str, Tensor],
        whiteners: Mapping[str, Tensor],
        offsets: Mapping[str, Tensor],
        generic: Mapping[str, tuple[Tensor, Tensor]],
        *,
        last_share: float = 0.25,
        most_tokens: int | None = None,
        top_k: int = 1,
        temperature: float = 1.0,
        abstain: float | None = None,
        min_p: float = 0.0,
        margin: float | None = None,
        dead_zone: float = 0.0,
        fallback: Fallback = "all",
        most: float = 1.0,
        spread: float = 1.0,
        general: int | None = None,
    ):
        super().__init__(a, whiteners, offsets, last_share=last_share, most_tokens=most_tokens)
        check_top_k(top_k, len(next(iter(a.values()))))
        check_choice(temperature, abstain)
        self.generic = dict(generic)
        self._has = {path: rows.flatten(1).any(1) for path, rows in whiteners.items()}
        self.top_k, self.temperature, self.abstain, self.min_p = top_k, temperature, abstain, min_p
        if fallback == "general" and general is None:
            raise ValueError("fallback 'general' needs the index of a general expert, found none")
        self.margin, self.dead_zone = margin, dead_zone
        self.fallback, self.most, self.spread = fallback, most, spread
        self.general = general

    def score(self, averages: Mapping[str, Tensor]) -> Tensor:
        """Return the experts' z-scores over generic requests, averaged over layers.

        Args:
            averages: module path -> averages of ``describe`` over each request, ``[B, E]``.

        Returns:
            Scores ``[B, E]``, float32; 0 for an expert that changes no layer.
        """
        scores = {}
        for path, found in averages.items():
            mean, deviation = self.generic[path]
            scores[path] = (found - mean) / deviation.clamp_min(SMALLEST_DEVIATION)
        return average_layers(scores, self._has)

    def choose(self, averages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Choose experts for requests.

        Args:
            averages: module path -> averages of ``describe`` over each request, ``[B, E]``.

        Returns:
            Indices ``[B, K]`` int64 and weights ``[B, K]`` float32, ready for a plan. K is ``top_k``,
            one more with the general expert, and E if all experts are the fallback.
        """
        return self.choose_by(self.score(averages))

    def choose_by(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Choose experts by their scores ``[B, E]``; see ``choose``."""
        indices, weights = keep_top_k(scores, self.top_k, self.temperature, self.abstain)
        weights = drop_unlikely(weights, self.min_p)
        trust = torch.ones_like(scores[:, :1])
        if self.margin is not None:
            trust = trust_margin(scores, self.margin, self.dead_zone)
        trust = trust.clamp_max(self.most)
        if self.fallback == "base" or (self.margin is None and self.most == 1):
            return indices, trust * weights
        if self.fallback == "general":
            assert self.general is not None
            return fall_back_on_general(indices, weights, trust, self.general)
        return fall_back_on_all(indices, weights, trust, scores.shape[1], self.spread)


def build_calibrated(config: CalibratedConfig, material: RequestMaterial) -> RequestRouter:
    """Build a model's calibrated router.

    Raises:
        ValueError: if the material lacks what the router needs, or has fewer experts than ``top_k``.
    """
    if not material.layers:
        raise ValueError("this router needs facts of at least one layer with experts, found no layer")

    depth = config.depth
    if depth is None:
        are_known = all(bool(layer.take("has_start").all()) for layer in material.layers.values())
        depth = DEPTH_BY_LEARNED if are_known else 1.0
    # Layers are in the order of the model.
    used = list(material.layers)[: ceil(depth * len(material.layers))]

    def take(field: str) -> dict[str, Tensor]:
        return {path: material.layers[path].take(field) for path in used}

    means, deviations = take("generic_means"), take("generic_deviations")
    return CalibratedRouter(
        take("learned"),
        take("whiteners"),
        take("offsets"),
        {path: (rows, deviations[path]) for path, rows in means.items()},
        last_share=config.last_share,
        most_tokens=config.most_tokens,
        top_k=resolve_top_k(config.top_k, material.num_experts, DEFAULT_TOP_K),
        temperature=config.temperature,
        abstain=config.abstain,
        min_p=config.min_p,
        margin=config.margin,
        dead_zone=config.dead_zone,
        fallback=resolve_fallback(config.fallback, material.general is not None, material.stands_on_general),
        most=config.most,
        spread=config.spread,
        general=material.general,
    )
