"""The router of commands that name none."""

from collections.abc import Mapping

from lorary.experts import Expert
from lorary.experts.card import SEQ_2_SEQ
from lorary.routing import DEFAULT_ROUTER, ENCODER_ROUTER


def choose_default_router(experts: Mapping[str, Expert]) -> str:
    """Return the default router for the experts of one base model; PEFT's task type says its kind."""
    return ENCODER_ROUTER if are_for_encoder(experts) else DEFAULT_ROUTER


def name_router(router: str) -> str:
    """Return a router's name, and that it is a default one if it is."""
    if router == DEFAULT_ROUTER:
        return f"{router} (the default router)"
    if router == ENCODER_ROUTER:
        return f"{router} (the default router of base models with an encoder)"
    return router


def are_for_encoder(experts: Mapping[str, Expert]) -> bool:
    """Return whether the first expert is for a base model with an encoder; False if there is none."""
    first = next(iter(experts), None)
    return first is not None and experts[first].card.task_type == SEQ_2_SEQ
