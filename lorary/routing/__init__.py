"""Routers, which choose the experts of a token or a request, built on pure functions of scores."""

from lorary.routing.arrow import ArrowConfig
from lorary.routing.calibrated_router import CalibratedConfig
from lorary.routing.contract import Choice, Chooser, LayerRouters, Mixed
from lorary.routing.fixed import FixedConfig, SingleConfig
from lorary.routing.lag import LagConfig
from lorary.routing.mean_activation import MeanActivationConfig
from lorary.routing.named import DEFAULT_ROUTER, ROUTERS, RouterConfig, configure_router, router_named
from lorary.routing.phatgoose import PhatgooseConfig
from lorary.routing.retrieval import RetrievalConfig
from lorary.routing.spectr import SpectrConfig
from lorary.routing.uniform import UniformConfig

__all__ = [
    "DEFAULT_ROUTER",
    "ROUTERS",
    "ArrowConfig",
    "CalibratedConfig",
    "Choice",
    "Chooser",
    "FixedConfig",
    "LagConfig",
    "LayerRouters",
    "MeanActivationConfig",
    "Mixed",
    "PhatgooseConfig",
    "RetrievalConfig",
    "RouterConfig",
    "SingleConfig",
    "SpectrConfig",
    "UniformConfig",
    "configure_router",
    "router_named",
]
