"""The table of routers: the options and the builder of each, by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lorary.errors import suggest
from lorary.files import quote
from lorary.routing.configs.arrow import ArrowConfig
from lorary.routing.configs.calibrated import CalibratedConfig
from lorary.routing.configs.card import CardConfig
from lorary.routing.configs.contract import RouterConfig
from lorary.routing.configs.fixed import FixedConfig, SingleConfig
from lorary.routing.configs.hilora import HiloraConfig
from lorary.routing.configs.lag import LagConfig
from lorary.routing.configs.logo import LogoConfig
from lorary.routing.configs.mean_activation import MeanActivationConfig
from lorary.routing.configs.moe import MoeRouterConfig
from lorary.routing.configs.phatgoose import PhatgooseConfig
from lorary.routing.configs.qa_flora import QaFloraConfig
from lorary.routing.configs.retrieval import RetrievalConfig
from lorary.routing.configs.seqr import SeqrConfig
from lorary.routing.configs.spectr import SpectrConfig
from lorary.routing.configs.uniform import UniformConfig
from lorary.routing.uses import Uses

if TYPE_CHECKING:
    from torch import nn

    from lorary.routing.material import LayerMaterial, RequestMaterial
    from lorary.routing.request import RequestRouter


@dataclass(frozen=True, kw_only=True)
class RouterKind:
    """An entry of the table: a router that chooses per token and layer."""

    config: type[Any]
    """The dataclass of its options, a ``RouterConfig``."""
    build: Callable[[Any, "LayerMaterial"], "nn.Module"]
    """``(config, material) -> layer router``, called once per layer."""
    uses: Uses
    """What it may use besides the request, as shown in all tables of routers."""
    needs_tasks: bool = False
    """Whether one of its facts is computed from examples of the experts' tasks when a command uses it."""


@dataclass(frozen=True, kw_only=True)
class RequestRouterKind:
    """An entry of the table: a request router, from its prompt."""

    config: type[Any]
    """The dataclass of its options, a ``RouterConfig``."""
    build: Callable[[Any, "RequestMaterial"], "RequestRouter"]
    """``(config, material) -> request router``, called once per model."""
    uses: Uses
    """What it may use besides the request, as shown in all tables of routers."""
    needs_tasks: bool = False
    """Whether one of its facts is computed from examples of the experts' tasks when a command uses it."""


def _find_builder(name: str) -> Callable[[Any, Any], Any]:
    """Import a builder, ``"module.function"``, at its first call, so that help needs no PyTorch."""
    file, _, function = name.rpartition(".")

    def build(config: Any, material: Any) -> Any:
        return getattr(import_module(f"lorary.routing.{file}"), function)(config, material)

    return build


TOKEN_ROUTERS: dict[str, RouterKind] = {
    "arrow": RouterKind(config=ArrowConfig, build=_find_builder("arrow.build_arrow"), uses=Uses.EXPERTS),
    "spectr": RouterKind(config=SpectrConfig, build=_find_builder("spectr.build_spectr"), uses=Uses.EXPERTS),
    "lag": RouterKind(config=LagConfig, build=_find_builder("lag.build_lag"), uses=Uses.EXPERTS),
    "seqr": RouterKind(config=SeqrConfig, build=_find_builder("seqr.build_seqr"), uses=Uses.GENERIC),
    "phatgoose": RouterKind(
        config=PhatgooseConfig,
        build=_find_builder("phatgoose.build_phatgoose"),
        uses=Uses.TRAINED,
        needs_tasks=True,
    ),
    "mean_activation": RouterKind(
        config=MeanActivationConfig,
        build=_find_builder("mean_activation.build_mean_activation"),
        uses=Uses.EXAMPLES,
        needs_tasks=True,
    ),
    "moe": RouterKind(config=MoeRouterConfig, build=_find_builder("moe.router.build_moe"), uses=Uses.TRAINED),
    "uniform": RouterKind(
        config=UniformConfig, build=_find_builder("uniform.build_uniform"), uses=Uses.EXPERTS
    ),
    "fixed": RouterKind(config=FixedConfig, build=_find_builder("fixed.build_fixed"), uses=Uses.EXPERTS),
    "single": RouterKind(config=SingleConfig, build=_find_builder("fixed.build_single"), uses=Uses.EXPERTS),
}
REQUEST_ROUTERS: dict[str, RequestRouterKind] = {
    "retrieval": RequestRouterKind(
        config=RetrievalConfig,
        build=_find_builder("retrieval.build_retrieval"),
        uses=Uses.EXAMPLES,
        needs_tasks=True,
    ),
    "hilora": RequestRouterKind(
        config=HiloraConfig,
        build=_find_builder("hilora.build_hilora"),
        uses=Uses.EXAMPLES,
        needs_tasks=True,
    ),
    "logo": RequestRouterKind(config=LogoConfig, build=_find_builder("logo.build_logo"), uses=Uses.EXPERTS),
    "qa_flora": RequestRouterKind(
        config=QaFloraConfig, build=_find_builder("qa_flora.build_qa_flora"), uses=Uses.EXPERTS
    ),
    "card": RequestRouterKind(config=CardConfig, build=_find_builder("card.build_card"), uses=Uses.EXPERTS),
    "calibrated": RequestRouterKind(
        config=CalibratedConfig, build=_find_builder("calibrated_router.build_calibrated"), uses=Uses.GENERIC
    ),
}
ROUTERS: dict[str, RouterKind | RequestRouterKind] = {**TOKEN_ROUTERS, **REQUEST_ROUTERS}
DEFAULT_ROUTER = "calibrated"
ENCODER_ROUTER = "arrow"
"""The default on base models with an encoder and a decoder, which write no generic text to calibrate on."""
"""The default router: the best one that needs no task data (docs/results/routing.md)."""


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
