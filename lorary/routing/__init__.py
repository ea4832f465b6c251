"""Routers, which choose the experts of a token or a request, built on pure functions of scores.

What runs a router is loaded when first used, so that options can be read without PyTorch.
"""

from typing import TYPE_CHECKING

from lorary.lazy import load_lazily
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
from lorary.routing.named import DEFAULT_ROUTER, ENCODER_ROUTER, ROUTERS, configure_router, router_named
from lorary.routing.uses import Uses

if TYPE_CHECKING:
    from lorary.routing.contract import Choice, Chooser, LayerRouters, Mixed

__all__ = [
    "DEFAULT_ROUTER",
    "ENCODER_ROUTER",
    "ROUTERS",
    "ArrowConfig",
    "CalibratedConfig",
    "CardConfig",
    "Choice",
    "Chooser",
    "FixedConfig",
    "HiloraConfig",
    "LagConfig",
    "LayerRouters",
    "LogoConfig",
    "MeanActivationConfig",
    "Mixed",
    "MoeRouterConfig",
    "PhatgooseConfig",
    "QaFloraConfig",
    "RetrievalConfig",
    "RouterConfig",
    "SeqrConfig",
    "SingleConfig",
    "SpectrConfig",
    "UniformConfig",
    "Uses",
    "configure_router",
    "router_named",
]

__getattr__ = load_lazily(__name__, dict.fromkeys(("Choice", "Chooser", "LayerRouters", "Mixed"), "contract"))
