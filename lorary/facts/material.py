"""Gathering the facts that a router is built from, layer by layer."""

from collections.abc import Mapping

from torch import Tensor

from lorary.facts.known import Facts
from lorary.facts.table import FACTS
from lorary.routing.configs.contract import Needs
from lorary.routing.material import LayerMaterial, RequestMaterial


def gather_layers(facts: Facts, needs: Needs) -> dict[str, LayerMaterial]:
    """Gather the facts that a router needs at each layer with experts, on that layer's device.

    Args:
        facts: the facts about the experts on the model.
        needs: fact -> its options; facts of the output layer are left out.

    Returns:
        Module path -> tensors by name.

    Raises:
        ValueError: if the user must give a fact and has not; the message explains how.
    """
    found: dict[str, Mapping[str, Tensor]] = {}
    shapes: dict[str, str] = {}
    for name, options in needs.items():
        if FACTS[name].place == "layers":
            found.update(facts.find(name, options))
            shapes.update(FACTS[name].shapes)
    return {
        path: LayerMaterial(
            num_experts=len(facts.names),
            names=facts.names,
            tensors={name: rows[path].to(layer.a.device) for name, rows in found.items()},
            shapes=shapes,
        )
        for path, layer in facts.stack.layers.items()
    }


def gather_request(facts: Facts, needs: Needs) -> RequestMaterial:
    """Gather the facts that a request router needs, of layers and of the output layer.

    Raises:
        ValueError: if the user must give a fact and has not; the message explains how.
    """
    output = [name for name in needs if FACTS[name].place == "output"]
    found = {
        tensor: tuple(rows[expert] for expert in facts.names)
        for name in output
        for tensor, rows in facts.find(name, needs[name]).items()
    }
    # A router that needs facts of the output layer only, such as embeddings, gets no layers.
    layers = gather_layers(facts, needs) if len(output) < len(needs) else {}
    return RequestMaterial(num_experts=len(facts.names), layers=layers, tensors=found, general=facts.fallback)
