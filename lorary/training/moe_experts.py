"""The experts of a mixture after its training."""

from collections.abc import Mapping
from dataclasses import asdict, replace

from torch import Tensor

from lorary.experts import Expert, Factors
from lorary.models import ExpertStack
from lorary.training.objectives.moe_config import MoeConfig
from lorary.training.progress import UnitProgress


def build_moe_experts(
    stack: ExpertStack,
    experts: Mapping[str, Expert],
    tensors: Mapping[str, Tensor],
    config: MoeConfig,
    name: str,
    progress: UnitProgress,
) -> dict[str, Expert]:
    """Return the experts, or new ones with the trained factors of the same ranks and layers.

    Args:
        stack: the experts on the base model, for ranks and layers.
        experts: name -> expert, as they were before.
        tensors: the trained parameters, by the names of ``outline_moe``.
        config: the configuration; it says whether experts are trained.
        name: the router's; new experts are ``<name>-<expert>``.
        progress: the training's.
    """
    if not config.train_experts:
        return dict(experts)
    ranks = {path: layer.list_ranks() for path, layer in stack.layers.items()}
    trained = {}
    for place, (old, expert) in enumerate(experts.items()):
        factors = {
            path: Factors(
                tensors[f"{path}.a"][place, : own[place]].clone(),
                tensors[f"{path}.b_t"][place, : own[place]].T.contiguous(),
            )
            for path, own in ranks.items()
            if own[place]
        }
        card = replace(
            expert.card,
            parents=(old,),
            description=f"expert {old} as trained in mixture {name}",
            provenance={"training": {**asdict(config), "method": "moe"}, "steps": progress.step},
            scores={},
        )
        trained[f"{name}-{old}"] = Expert(f"{name}-{old}", expert.base_model, factors, card)
    return trained
