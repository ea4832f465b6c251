"""Facts that are one vector per expert and layer: how they are stored in artifacts, and stacked for routers.

N experts of a call, I layer input.
"""

import json
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorary.facts.soundness import Artifact, has_form, read_any_layout, read_layout
from lorary.models import ExpertStack


def pack_rows(rows: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Turn vectors into an artifact per expert, in which all layers are joined.

    A file with one tensor per layer takes far longer to read.

    Args:
        rows: module path -> ``[N, I]``.
        names: the N experts that the rows belong to.
    """
    layout = write_layout({path: tensor.shape[1] for path, tensor in rows.items()})
    joined = torch.cat([tensor.detach().float().cpu() for tensor in rows.values()], dim=1)
    return {name: {"rows": joined[index], "layout": layout} for index, name in enumerate(names)}


def lay_out_rows(stack: ExpertStack, artifacts: Sequence[Artifact]) -> dict[str, Tensor]:
    """Stack artifacts to ``[N, I]`` for each layer with experts, with zeros for layers that one lacks."""
    found = [unpack_rows(artifact) for artifact in artifacts]
    return {
        path: torch.stack([rows.get(path, torch.zeros(layer.a.shape[2])) for rows in found])
        for path, layer in stack.layers.items()
    }


def unpack_rows(artifact: Artifact) -> dict[str, Tensor]:
    """Split an artifact into each layer's vector ``[I]``, by module path."""
    layout = read_layout(artifact)
    return dict(zip(layout, artifact["rows"].split(list(layout.values())), strict=True))


def are_sound_rows(stack: ExpertStack, artifact: Artifact) -> bool:
    """Return whether an artifact's layout and sizes suit the model's layers, and its numbers are finite."""
    layout = read_any_layout(artifact)
    if layout is None or any(
        path not in stack.layers or width != stack.layers[path].a.shape[2] for path, width in layout.items()
    ):
        return False
    return has_form(artifact, {"rows": (sum(layout.values()),)})


def write_layout(sizes: Mapping[str, int]) -> Tensor:
    """Encode the number of values of each module path, in this order, as the bytes of a JSON object."""
    return torch.tensor(list(json.dumps(dict(sizes)).encode()), dtype=torch.uint8)
