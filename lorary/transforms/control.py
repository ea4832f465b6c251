"""The random control: an untrained expert whose weight changes have the same size as those of others.

Shape letters: R rank, I layer input, O layer output.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from lorary.experts import Expert, ExpertCard, Factors
from lorary.experts.parts.low_rank_only import list_trained_kinds
from lorary.experts.roles import CONTROL
from lorary.experts.routed import list_routed
from lorary.lowrank import frobenius_norm
from lorary.transforms.stacks import batch_factors, choose_names


@dataclass(kw_only=True)
class _Layer:
    """Shape, rank, dtype and norms (by the expert's index) of one layer."""

    inputs: int
    outputs: int
    rank: int = 0
    dtype: torch.dtype
    norms: dict[int, float] = field(default_factory=dict)


def random_expert(experts: Mapping[str, Expert], seed: int = 0, name: str = "random") -> Expert:
    """Draw an expert with random weights of the size of the given experts, as a control for routing.

    Its factors are Gaussian. In each layer they have the largest rank of the experts that change the layer,
    and ``b @ a`` has the mean of those experts' Frobenius norms. It builds on the general expert that all of
    them build on.

    Args:
        experts: a library or any other mapping.
        seed: random seed; the same seed and experts give the same weights.
        name: name of the new expert.

    Returns:
        An expert for the base model of the first expert, with factors of the experts' dtype and the role
        and tag ``control``.

    Raises:
        ValueError: if there are no experts.
        IncompatibleExpert: if two experts have different shapes of a layer.
        FormatError: if an expert in a file has NaN or infinite weights.
    """
    # Without a warning, because the functions that use the experts give one.
    low_rank = [name for name in list_routed(experts) if not list_trained_kinds(experts[name])]
    chosen = choose_names(experts, low_rank or None, "drawing a random expert")
    layers = _measure_layers(experts, chosen)
    generator = torch.Generator().manual_seed(seed)
    # Sorted, so that the draw does not depend on the order of experts or layers.
    factors = {path: _draw_factors(layers[path], generator) for path in sorted(layers)}
    first = experts[chosen[0]]
    card = ExpertCard(
        tags=("control",),
        role=CONTROL,
        description="random weights with the shapes and norms of the parents",
        provenance={"algorithm": "random_expert", "seed": seed},
        parents=tuple(chosen),
        on_top_of=_find_common_general(experts, chosen),
        base_revision=first.card.base_revision,
        base_fingerprint=first.card.base_fingerprint,
        fan_in_fan_out=first.card.fan_in_fan_out,
        task_type=first.card.task_type,
    )
    return Expert(name, first.base_model, factors, card)


def _find_common_general(experts: Mapping[str, Expert], names: list[str]) -> str | None:
    """Return the hash of the general expert that all build on, so that the control does too; else None."""
    hashes = {experts[name].card.on_top_of for name in names}
    return hashes.pop() if len(hashes) == 1 else None


def _measure_layers(experts: Mapping[str, Expert], names: list[str]) -> dict[str, _Layer]:
    layers: dict[str, _Layer] = {}
    for paths, where, a, b in batch_factors(experts, names):
        rank, inputs = a.shape[2:]
        dtype = torch.promote_types(a.dtype, b.dtype)
        for path, norms in zip(paths, frobenius_norm(a, b).tolist(), strict=True):
            layer = layers.setdefault(path, _Layer(inputs=inputs, outputs=b.shape[2], dtype=dtype))
            layer.rank = max(layer.rank, rank)
            layer.dtype = torch.promote_types(layer.dtype, dtype)
            layer.norms.update(enumerate(norms, where.start))
    return layers


def _draw_factors(layer: _Layer, generator: torch.Generator) -> Factors:
    a = torch.randn(layer.rank, layer.inputs, generator=generator) / layer.inputs**0.5
    b = torch.randn(layer.outputs, layer.rank, generator=generator)
    target = sum(sorted(layer.norms.values())) / len(layer.norms)
    b *= target / frobenius_norm(a, b)
    return Factors(a.to(layer.dtype), b.to(layer.dtype))
