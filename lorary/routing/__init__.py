"""Which experts a token or request uses: pure functions from scores to ``(indices, weights)``; routers."""

from lorary.routing.arrow import ArrowConfig, ArrowRouter, arrow_scores
from lorary.routing.calibrated import log_deviations, whiten_readings
from lorary.routing.calibrated_router import CalibratedConfig, CalibratedRouter, DeviationReader
from lorary.routing.contract import Choice, Chooser, LayerRouters, Mixed
from lorary.routing.diagnostics import expert_usage, routing_entropy
from lorary.routing.fixed import FixedConfig, FixedRouter, SingleConfig
from lorary.routing.lag import LagConfig, LagRouter
from lorary.routing.material import LayerMaterial, Needs, RequestMaterial
from lorary.routing.mean_activation import (
    MeanActivationConfig,
    MeanActivationRouter,
    mean_activation_scores,
)
from lorary.routing.named import (
    DEFAULT_ROUTER,
    REQUEST_ROUTERS,
    ROUTERS,
    TOKEN_ROUTERS,
    RequestRouterKind,
    RouterConfig,
    RouterKind,
    configure_router,
    list_options,
    router_named,
)
from lorary.routing.phatgoose import PhatgooseConfig, PhatgooseRouter, phatgoose_scores, standardise
from lorary.routing.request import RequestRouter
from lorary.routing.retrieval import RetrievalConfig, RetrievalRouter, retrieval_scores
from lorary.routing.spectr import SpectrConfig, SpectrRouter, find_norm_roots, spectr_scores
from lorary.routing.top_k import keep_top_k
from lorary.routing.uniform import UniformConfig, UniformRouter

__all__ = [
    "DEFAULT_ROUTER",
    "REQUEST_ROUTERS",
    "ROUTERS",
    "TOKEN_ROUTERS",
    "ArrowConfig",
    "ArrowRouter",
    "CalibratedConfig",
    "CalibratedRouter",
    "Choice",
    "Chooser",
    "DeviationReader",
    "FixedConfig",
    "FixedRouter",
    "LagConfig",
    "LagRouter",
    "LayerMaterial",
    "LayerRouters",
    "MeanActivationConfig",
    "MeanActivationRouter",
    "Mixed",
    "Needs",
    "PhatgooseConfig",
    "PhatgooseRouter",
    "RequestMaterial",
    "RequestRouter",
    "RequestRouterKind",
    "RetrievalConfig",
    "RetrievalRouter",
    "RouterConfig",
    "RouterKind",
    "SingleConfig",
    "SpectrConfig",
    "SpectrRouter",
    "UniformConfig",
    "UniformRouter",
    "arrow_scores",
    "configure_router",
    "expert_usage",
    "find_norm_roots",
    "keep_top_k",
    "list_options",
    "log_deviations",
    "mean_activation_scores",
    "phatgoose_scores",
    "retrieval_scores",
    "router_named",
    "routing_entropy",
    "spectr_scores",
    "standardise",
    "whiten_readings",
]
