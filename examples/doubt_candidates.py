"""Candidates of examples/choose_doubt.py: options of the calibrated router, and fixed choices of experts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import ceil

import torch
from doubt_items import Case

from lorary.assembly import RoutedModel
from lorary.evaluation.route_experts import KnownExperts
from lorary.facts.reading import read_averages
from lorary.facts.requests import pad_prompts
from lorary.routing import CalibratedConfig
from lorary.routing.calibrated_router import CalibratedRouter

DEPTH, MOST_TOKENS = 0.2, 32  # the defaults for experts whose random start is known
GENERAL = CalibratedConfig(margin=1.0, dead_zone=0.0, fallback="general", depth=DEPTH)
ALL = replace(GENERAL, fallback="all")
ZONES = (
    (0.5, 0.0),
    (1.0, 0.0),
    (2.0, 0.0),
    (4.0, 0.0),
    (0.6, 0.35),
    (0.8, 0.25),
    (0.8, 0.4),
    (1.0, 0.25),
    (1.0, 0.4),
)
CANDIDATES = {
    "always sure": replace(GENERAL, margin=None),
    **{
        f"{fallback}, margin {margin:g}" + (f", dead zone {dead:g}" if dead else ""): replace(
            config, margin=margin, dead_zone=dead
        )
        for fallback, config in (("all", ALL), ("general", GENERAL))
        for margin, dead in ZONES
    },
    "base, margin 1": replace(GENERAL, fallback="base"),
    "general, margin 1, most 0.7": replace(GENERAL, most=0.7),
    "general, margin 1, none dropped": replace(GENERAL, min_p=0.0),
}
FIXED = ("general alone", "uniform", "right expert")


@dataclass(frozen=True)
class Scored:
    """A case with the scores of the experts that may be chosen, by the share of the layers that is read."""

    case: Case
    scores: Mapping[float, torch.Tensor]
    places: tuple[int, ...]


def score(
    model: RoutedModel,
    cases: Sequence[Case],
    depths: Sequence[float] = (DEPTH,),
    most_tokens: int | None = MOST_TOKENS,
) -> list[Scored]:
    """Let the base model read each prompt once, and leave out the removed experts."""
    router, scores = model.router("calibrated", depth=1.0, most_tokens=most_tokens).decider.router, {}
    for prompt in dict.fromkeys(case.tokens.prompt_ids for case in cases):
        averages = read_averages(model.stack, router, pad_prompts([prompt], model.model.device))
        scores[prompt] = {
            depth: router.score(
                {path: averages[path] for path in router.places[: ceil(depth * len(averages))]}
            )[0]
            for depth in depths
        }
    found = []
    for case in cases:
        places = tuple(place for place, name in enumerate(model.names) if name != case.away)
        own = scores[case.tokens.prompt_ids]
        found.append(Scored(case, {depth: rows[list(places)] for depth, rows in own.items()}, places))
    return found


def choose(model: RoutedModel, scored: Scored, candidate: str) -> KnownExperts:
    """Return the experts of a case under a candidate, and their weights."""
    count, general = len(scored.places), model.facts.fallback
    if candidate == "uniform":
        return scored.places, (1 / count,) * count
    if candidate == "right expert" and scored.case.own in model.names and scored.case.away is None:
        return (model.names.index(scored.case.own),), (1.0,)
    if candidate in FIXED:
        if general is None:  # experts stand on it
            assert model.stack.general is not None
            general = model.stack.index(model.stack.general.name)
        return (general,), (1.0,)
    return choose_by(model, scored, CANDIDATES[candidate])


def choose_by(model: RoutedModel, scored: Scored, config: CalibratedConfig) -> KnownExperts:
    """Return the experts of a case under given options, and their weights."""
    general = model.facts.fallback
    indices, weights = build_router(model, config).choose_by(scored.scores[config.depth][None])
    places = [general if index == general else scored.places[index] for index in indices[0].tolist()]
    if model.stack.general is not None and not weights.any():
        places = [model.stack.index(model.stack.general.name)] * len(places)
        return tuple(places), (1.0, *weights[0, 1:].tolist())
    return tuple(places), tuple(weights[0].tolist())


@cache
def build_router(model: RoutedModel, config: CalibratedConfig) -> CalibratedRouter:
    """Build a candidate's router."""
    return model.router("calibrated", **asdict(config)).decider.router
