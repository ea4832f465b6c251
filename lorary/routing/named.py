"""The routers that can be asked for by name, and how to build each for one layer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lorary.errors import suggest
from lorary.routing.arrow import ArrowConfig, ArrowRouter
from lorary.routing.constant import UniformConfig, UniformRouter

LayerPrototypes = tuple[Tensor, Tensor]
"""One layer's prototypes ``[E, I]`` and gains ``[E]``."""


@dataclass(frozen=True, kw_only=True)
class RouterKind:
    """What a router's name stands for."""

    config: type
    """The dataclass of its options."""
    build: Callable[[Any, int, LayerPrototypes | None], nn.Module]
    """``(config, num_experts, prototypes) -> layer router``, called once per layer."""
    needs_prototypes: bool
    """Whether ``build`` has to be given the layer's prototypes and gains."""


def build_arrow(config: ArrowConfig, num_experts: int, prototypes: LayerPrototypes | None) -> ArrowRouter:
    """Build one layer's Arrow router.

    Args:
        config: its options.
        num_experts: E.
        prototypes: the layer's prototypes ``[E, I]`` and gains ``[E]``.

    Raises:
        ValueError: if there are no prototypes, not one per expert, or fewer experts than ``top_k``.
    """
    if prototypes is None or prototypes[0].shape[0] != num_experts:
        found = "none" if prototypes is None else prototypes[0].shape[0]
        raise ValueError(f"arrow needs one prototype for each of the {num_experts} experts, found {found}")
    return ArrowRouter(
        *prototypes,
        top_k=config.top_k,
        temperature=config.temperature,
        input_norm=config.input_norm,
        weigh_by_gain=config.weigh_by_gain,
    )


def build_uniform(
    config: UniformConfig, num_experts: int, prototypes: LayerPrototypes | None = None
) -> UniformRouter:
    """Build one layer's uniform router; it looks at neither options nor prototypes.

    Args:
        config: has no options.
        num_experts: E.
        prototypes: not used.

    Raises:
        ValueError: if there is no expert.
    """
    return UniformRouter(num_experts)


ROUTERS: dict[str, RouterKind] = {
    "arrow": RouterKind(config=ArrowConfig, build=build_arrow, needs_prototypes=True),
    "uniform": RouterKind(config=UniformConfig, build=build_uniform, needs_prototypes=False),
}


def router_named(name: str) -> RouterKind:
    """Look a router up by name.

    Raises:
        ValueError: if there is none of that name; the message has the nearest.
    """
    if name not in ROUTERS:
        raise ValueError(f"no router is named {name!r}: {suggest(name, ROUTERS)}")
    return ROUTERS[name]
