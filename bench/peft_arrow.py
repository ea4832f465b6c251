"""PEFT's side of routing: its own Arrow model and its own prototypes."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import torch
from peft import ArrowConfig, PeftModel, create_arrow_model
from peft.tuners.lora.arrow import ArrowLoraLinearLayer
from torch import Tensor
from transformers import PreTrainedModel

from bench.models import TOP_K
from lorary import Expert

ROUTER = "arrow_router"


def load_peft_arrow(model: PreTrainedModel, folders: Sequence[str]) -> PeftModel:
    """Load adapters into PEFT's Arrow model, ready to route, prototypes included.

    The adapters keep the base model's dtype, which PEFT would turn into float32: that makes it faster here.
    """
    config = ArrowConfig(top_k=min(TOP_K, len(folders)), rng_seed=0)
    routed = create_arrow_model(model, list(folders), config, autocast_adapter_dtype=False).eval()
    for module in routed.modules():
        if hasattr(module, "lora_arrow"):
            # As in its first forward pass.
            module.lora_arrow[ROUTER].build_prototypes(module.lora_A, module.lora_B)
    return routed


class PeftPrototypes:
    """PEFT's prototypes of experts that are in memory already, without loading them into a model.

    Args:
        experts: name -> expert.
    """

    def __init__(self, experts: Mapping[str, Expert]):
        first = next(iter(experts.values()))
        self._layers = {}
        for path, (a, _) in first.factors.items():
            config = ArrowConfig(top_k=1, rng_seed=0)
            config.task_adapter_names, config.gks_adapter_names = list(experts), []
            downs, ups = (
                {name: SimpleNamespace(weight=expert.factors[path][side]) for name, expert in experts.items()}
                for side in (0, 1)
            )
            self._layers[path] = (ArrowLoraLinearLayer(a.shape[1], config), downs, ups)

    @torch.no_grad()
    def compute(self) -> dict[str, Tensor]:
        """Compute them as a forward pass would when it finds none: module path -> ``[E, I]``."""
        found = {}
        for path, (layer, downs, ups) in self._layers.items():
            layer._protos_ready = False
            layer.build_prototypes(downs, ups)
            found[path] = layer.prototypes
        return found
