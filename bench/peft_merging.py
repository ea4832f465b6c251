"""PEFT's side of merging: ``add_weighted_adapter`` on bare linear layers with the experts."""

from collections.abc import Mapping
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from lorary import Expert, Factors

MERGED = "merged"


class PeftMerger:
    """Experts as adapters of PEFT, on linear layers of their shapes and without a model around these.

    Args:
        experts: name -> expert; all of one rank, on the same layers.
    """

    def __init__(self, experts: Mapping[str, Expert]):
        self.names = list(experts)
        first = next(iter(experts.values()))
        model, self.paths = nn.Module(), list(first.factors)
        for path, (a, b) in first.factors.items():
            parent = model
            *parents, last = path.split(".")
            for name in parents:
                if not hasattr(parent, name):
                    parent.add_module(name, nn.Module())
                parent = parent.get_submodule(name)
            parent.add_module(last, nn.Linear(a.shape[1], b.shape[0], bias=False))
        rank = first.max_rank
        # Its scale is then 1: ours is in b.
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=self.paths)
        self.model = get_peft_model(model, config, adapter_name=self.names[0])
        for name in self.names[1:]:
            self.model.add_adapter(name, config)
        with torch.no_grad():
            for name, expert in experts.items():
                for path, (a, b) in expert.factors.items():
                    layer = self._layer(path)
                    layer.lora_A[name].weight.copy_(a)
                    layer.lora_B[name].weight.copy_(b)

    def forget(self) -> None:
        """Remove the previous merge."""
        if MERGED in self.model.peft_config:
            self.model.delete_adapter(MERGED)

    def merge(self, method: str, weights: list[float], options: Mapping[str, Any]) -> None:
        """Merge all experts into a new adapter of their rank (``cat``: of the sum of their ranks)."""
        self.model.add_weighted_adapter(self.names, weights, MERGED, combination_type=method, **options)

    def factors(self, path: str) -> Factors:
        """Return one layer of the last merge."""
        layer = self._layer(path)
        scale = layer.scaling[MERGED]
        return Factors(layer.lora_A[MERGED].weight.detach(), layer.lora_B[MERGED].weight.detach() * scale)

    def _layer(self, path: str) -> Any:
        return self.model.base_model.model.get_submodule(path)
