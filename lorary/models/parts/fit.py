"""Checking that the parts of an expert fit the modules of a model."""

from collections.abc import Iterator, Mapping

from torch import nn

from lorary.experts import Expert
from lorary.models.parts.layer_view import LayerView
from lorary.models.parts.place import strip


def find_part_faults(expert: Expert, modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, str]]:
    """Yield the parts that cannot change a model: module path, and a text that goes on after it.

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
        kinds = {part.kind for part in parts}
        if "dora" in kinds and any(part.kind == "whole" and "weight" in part.tensors for part in parts):
            yield path, "has a trained weight and DoRA magnitudes, which PEFT computes for the base weight"
