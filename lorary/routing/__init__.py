"""Which experts a token uses: pure functions from scores to ``(indices, weights)``, and layer routers."""

from lorary.routing.arrow import ArrowConfig, ArrowRouter, arrow_scores
from lorary.routing.constant import FixedRouter, UniformConfig, UniformRouter
from lorary.routing.diagnostics import expert_usage, routing_entropy
from lorary.routing.named import ROUTERS, RouterKind, build_arrow, build_uniform, router_named
from lorary.routing.top_k import keep_top_k

__all__ = [
    "ROUTERS",
    "ArrowConfig",
    "ArrowRouter",
    "FixedRouter",
    "RouterKind",
    "UniformConfig",
    "UniformRouter",
    "arrow_scores",
    "build_arrow",
    "build_uniform",
    "expert_usage",
    "keep_top_k",
    "router_named",
    "routing_entropy",
]
