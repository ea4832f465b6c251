"""Putting together what a router is built from: the facts that it needs, layer by layer."""

from collections.abc import Mapping

from torch import Tensor

from lorary.facts.known import Facts
from lorary.facts.table import FACTS
from lorary.routing.material import LayerMaterial, Needs, RequestMaterial


def gather_layers(facts: Facts, needs: Needs) -> dict[str, LayerMaterial]:
    """Put together what a router needs for every layer with experts, on that layer's device.

    Args:
        facts: what is known about the experts.
        needs: facts -> their options; those of the output layer are left out.

    Raises:
        ValueError: if a fact must be given and is not; the message explains how.
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
    """Put together what a router needs that decides per request.

    Raises:
        ValueError: if a fact must be given and is not; the message explains how.
    """
    output = [name for name in needs if FACTS[name].place == "output"]
    found = {
        tensor: tuple(rows[expert] for expert in facts.names)
        for name in output
        for tensor, rows in facts.find(name, needs[name]).items()
    }
    # A router that uses embeddings only needs no layer.
    layers = gather_layers(facts, needs) if len(output) < len(needs) else {}
    return RequestMaterial(num_experts=len(facts.names), layers=layers, tensors=found)
