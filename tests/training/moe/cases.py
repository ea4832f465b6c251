"""Configurations of routers of mixtures, and rows to start from."""

import torch

from lorary.models import find_layers, layer_shape
from lorary.training import MoeConfig, TrainConfig

TARGETS = ["q_proj", "down_proj"]
NAMES = ("sql", "law", "ode", "art", "tax")
TRAIN = {
    "batch_size": 4,
    "learning_rate": 1e-3,
    "max_steps": 4,
    "schedule": "constant",
    "warmup_ratio": 0.0,
    "max_grad_norm": None,
    "checkpoint_seconds": 0,
}
CASES = {
    "linear": {},
    "all": {"weighting": "all", "top_k": 1, "input_norm": "rms"},
    "shared": {"shared": ["law"], "shared_gate": True},
    "always": {"shared": ["law", "tax"], "input_norm": "none"},
    "groups": {"groups": {"a": ["sql", "art"], "b": ["law", "ode", "tax"]}, "weighting": "all"},
    "kept groups": {"groups": {"a": ["sql", "art"], "b": ["law", "ode", "tax"]}},
    "keys": {"kind": "product_keys", "query_size": 6},
    "all keys": {"kind": "product_keys", "query_size": 6, "weighting": "all", "top_k": 3},
    "trained": {"train_experts": True},
}


def make_config(train=None, **changes):
    settings = {
        "warm_start": "none",
        "balance": 0.3,
        "z_loss": 0.1,
        "router_learning_rate": 1e-3,
        **changes,
    }
    return MoeConfig(train=TrainConfig(**{**TRAIN, **(train or {})}), **settings)


def draw_rows(base):
    generator = torch.Generator().manual_seed(1)
    return {
        path: torch.randn(5, layer_shape(layer)[0], generator=generator)
        for path, layer in find_layers(base.model, TARGETS).items()
    }
