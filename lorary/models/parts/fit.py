"""Checking that the parts of an expert fit the modules of a model."""

from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from lorary.experts import Expert
from lorary.experts.parts import KINDS, Part
from lorary.models.layers import is_gate
from lorary.models.parts.layer_view import LayerView
from lorary.models.parts.place import strip


def find_part_faults(expert: Expert, modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, str]]:
    """Yield the parts that cannot change a model: module path, and the rest of the sentence after it.

    Args:
        expert: the expert, settled on the model.
        modules: module path -> module of the model, with experts or without.
    """
    for path, parts in expert.parts.items():
        module = modules.get(path)
        if module is None:
            yield path, "is not one of its modules"
            continue
        view = LayerView(strip(module))
        for part in parts:
            if (fault := part.find_misfit(view)) is not None:
                yield path, fault
            if view.is_packed and part.kind == "whole" and "weight" in part.tensors:
                yield path, "has quantised weights, which a trained weight cannot replace"
        if (fault := _find_clash(parts, path in expert.outlines, is_gate(view.module))) is not None:
            yield path, fault


def _find_clash(parts: Sequence[Part], has_factors: bool, is_gate: bool) -> str | None:
    """Return why parts cannot be together; each is defined by the base module, which the other changes."""
    kinds = {part.kind for part in parts}
    has_weight = any(part.kind == "whole" and "weight" in part.tensors for part in parts)
    others = [KINDS[kind].title for kind in KINDS if kind in kinds - {"ia3", "tokens"}]
    others += ["low-rank factors"] * has_factors
    if is_gate and kinds != {"whole"}:
        return "is the gate of a mixture of experts, which can have only low-rank factors and trained weights"
    if "dora" in kinds and has_weight:
        return "has a trained weight and DoRA magnitudes, which PEFT computes for the base weight"
    if "dora" in kinds and "sparse" in kinds:
        return "has a sparse change and DoRA magnitudes, whose norms PEFT takes without it"
    for kind in ("ia3", "tokens"):
        if kind in kinds and (others or len(kinds) > 1):
            more = [*others, *(KINDS[other].title for other in ("ia3", "tokens") if other in kinds - {kind})]
            return f"has {KINDS[kind].title} and {' and '.join(more)}, which cannot be together on one module"
    return None
