"""The table of routers: the options and the builder of each, by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from difflib import get_close_matches
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from lorary.errors import suggest
from lorary.files import quote
from lorary.routing.arrow import ArrowConfig, build_arrow
from lorary.routing.calibrated_router import CalibratedConfig, build_calibrated
from lorary.routing.fixed import FixedConfig, SingleConfig, build_fixed, build_single
from lorary.routing.lag import LagConfig, build_lag
from lorary.routing.material import LayerMaterial, Needs, RequestMaterial
from lorary.routing.mean_activation import MeanActivationConfig, build_mean_activation
from lorary.routing.phatgoose import PhatgooseConfig, build_phatgoose
from lorary.routing.request import RequestRouter
from lorary.routing.retrieval import RetrievalConfig, build_retrieval
from lorary.routing.spectr import SpectrConfig, build_spectr
from lorary.routing.uniform import UniformConfig, build_uniform

LayerPrototypes = tuple[Tensor, Tensor]
"""One layer's prototypes ``[E, I]`` and gains ``[E]``."""


class RouterConfig(Protocol):
    """A router's options: a frozen dataclass, whose fields are the options."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from, with these options."""
        ...

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit the experts of these names; ``ValueError`` if not."""
        ...


@dataclass(frozen=True, kw_only=True)
class RouterKind:
    """An entry of the table: a router that chooses per token and layer."""

    config: type[Any]
    """The dataclass of its options, a ``RouterConfig``."""
    build: Callable[[Any, LayerMaterial], nn.Module]
    """``(config, material) -> layer router``, called once per layer."""


@dataclass(frozen=True, kw_only=True)
class RequestRouterKind:
    """An entry of the table: a router that chooses once per request, from its prompt."""

    config: type[Any]
    """The dataclass of its options, a ``RouterConfig``."""
    build: Callable[[Any, RequestMaterial], RequestRouter]
    """``(config, material) -> request router``, called once per model."""


TOKEN_ROUTERS: dict[str, RouterKind] = {
    "arrow": RouterKind(config=ArrowConfig, build=build_arrow),
    "spectr": RouterKind(config=SpectrConfig, build=build_spectr),
    "lag": RouterKind(config=LagConfig, build=build_lag),
    "phatgoose": RouterKind(config=PhatgooseConfig, build=build_phatgoose),
    "mean_activation": RouterKind(config=MeanActivationConfig, build=build_mean_activation),
    "uniform": RouterKind(config=UniformConfig, build=build_uniform),
    "fixed": RouterKind(config=FixedConfig, build=build_fixed),
    "single": RouterKind(config=SingleConfig, build=build_single),
}
REQUEST_ROUTERS: dict[str, RequestRouterKind] = {
    "retrieval": RequestRouterKind(config=RetrievalConfig, build=build_retrieval),
    "calibrated": RequestRouterKind(config=CalibratedConfig, build=build_calibrated),
}
ROUTERS: dict[str, RouterKind | RequestRouterKind] = {**TOKEN_ROUTERS, **REQUEST_ROUTERS}
DEFAULT_ROUTER = "calibrated"
"""The default router: the best one that needs nothing but the experts (docs/results/routing.md)."""


def router_named(name: str) -> RouterKind | RequestRouterKind:
    """Look a router up by name.

    Raises:
        ValueError: if there is no router of that name; the message has the nearest names.
    """
    if name not in ROUTERS:
        raise ValueError(f"no router is named {quote(name)}: {suggest(str(name)[:200], ROUTERS)}")
    return ROUTERS[name]


def configure_router(name: str, options: Mapping[str, Any]) -> RouterConfig:
    """Build a router's configuration.

    Args:
        name: a key of ``ROUTERS``.
        options: name -> value; missing options have their defaults.

    Raises:
        ValueError: if there is no such router, the router has no such option (the message has the nearest and
            all known options), or a value is out of range.
    """
    kind = router_named(name)
    known = list_options(name)
    faults = [_describe_unknown(name, option, known) for option in options if option not in known]
    if faults:
        raise ValueError("; ".join(faults))
    config: RouterConfig = kind.config(**options)
    return config


def list_options(name: str) -> list[str]:
    """List the names of a router's options.

    Raises:
        ValueError: if there is no such router.
    """
    return [field.name for field in fields(router_named(name).config)]


def _describe_unknown(router: str, option: str, known: Sequence[str]) -> str:
    near = get_close_matches(option[:200], known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    listed = f"its options are {', '.join(known)}" if known else "it has none"
    return f"router {router!r} has no option {quote(option)}: {hint}{listed}"
