"""Gathering the facts that a router is built from, layer by layer."""

from collections.abc import Callable, Mapping

from torch import Tensor

from lorary.experts.stacked_parameters import is_sub_layer
from lorary.facts.known import Facts
from lorary.facts.table import FACTS
from lorary.models import ExpertStack
from lorary.models.architecture import is_encoder_decoder
from lorary.models.called import find_reading_layers
from lorary.models.expert_linear import ExpertLinear
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
    return RequestMaterial(
        num_experts=len(facts.names),
        layers=layers,
        tensors=found,
        general=facts.fallback,
        stands_on_general=facts.stack.general is not None,
        places=_list_places(facts.stack),
        output=None if facts.base.is_encoder_decoder else _find_output(facts.stack),
    )


def _list_places(stack: ExpertStack) -> tuple[str, ...]:
    """List the layers with experts that read every token of a prompt."""
    paths = [path for path in stack.layers if not is_sub_layer(path)]
    if is_encoder_decoder(stack.model):
        reading = find_reading_layers(stack.model)
        paths = [path for path in paths if path in reading]
    return tuple(paths)


def _find_output(stack: ExpertStack) -> Callable[[Tensor], Tensor]:
    """Return the output layer without experts, which the layer itself may have."""
    layer = stack.model.get_output_embeddings()
    output: Callable[[Tensor], Tensor] = layer.base if isinstance(layer, ExpertLinear) else layer
    return output
