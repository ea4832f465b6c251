"""Fitting experts of earlier mixtures, with a module per sub-layer, to mixtures with stacked weights.

Adapters of earlier versions of ``transformers`` name ``experts.0.gate_proj`` or ``experts.0.w1``. Models have
the table by which ``transformers`` converts such checkpoints; experts are converted by the same table.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    Concatenate,
    MergeModulelist,
    WeightConverter,
    WeightRenaming,
    rename_source_key,
)

from lorary.experts import Expert, Factors
from lorary.experts.fused_factors import FusedFactors, Piece, outline_pieces
from lorary.experts.stacked_parameters import Entry, read_entry
from lorary.models.expert_linear import ExpertLinear
from lorary.models.layers import takes_factors
from lorary.models.stacked_layers import find_owner


class StackedFit:
    """Converts experts to a model's mixtures.

    Args:
        model: the base model, with experts or without.
        modules: module path -> module of the model.
    """

    def __init__(self, model: PreTrainedModel, modules: Mapping[str, nn.Module]):
        self._model = model
        self._modules = modules
        self._known: dict[int, tuple[object, dict[str, list[Piece]], dict[str, Factors]] | None] = {}

    def fit(self, expert: Expert) -> Expert:
        """Return an expert with the model's paths; itself if it fits already or cannot be made to fit.

        Values are not read; they are joined when the expert's factors are.
        """
        # Experts from files of the same layout share one outlines object, so these are converted once.
        key = id(expert.outlines)
        if key not in self._known:
            self._known[key] = self._find(expert.outlines)
        found = self._known[key]
        if found is None:
            return expert
        _, pieces, outlines = found
        return replace(expert, factors=FusedFactors(expert.factors, pieces, outlines))

    def _find(
        self, outlines: Mapping[str, Factors]
    ) -> tuple[object, dict[str, list[Piece]], dict[str, Factors]] | None:
        strangers = [path for path in outlines if not self._has(path)]
        if not strangers:
            return None
        transforms = get_model_conversion_mapping(self._model)
        renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
        converters = [each for each in transforms if isinstance(each, WeightConverter)]
        pieces: dict[str, list[Piece]] = defaultdict(list)
        for path in outlines:
            new, part, parts = path, 0, 1
            entry = read_entry(path)
            if entry is not None and entry.index == 0 and self._has(entry.module):
                new = entry.module  # a layer that PEFT targets as a parameter
            elif path in strangers:
                key = rename_source_key(f"{path}.weight", renamings, [])[0]
                new, part, parts = _convert(key, converters) or (path, 0, 1)
            pieces[new].append(Piece(path, part, parts))
        if not all(self._has(new) for new in pieces) or not all(
            _have_equal_widths([outlines[piece.path] for piece in own]) for own in pieces.values() if own[1:]
        ):
            return None
        # The outlines are kept alive, so that no other object gets their id.
        return outlines, dict(pieces), outline_pieces(outlines, pieces)

    def _has(self, path: str) -> bool:
        entry = read_entry(path)
        if entry is not None:
            return find_owner(self._modules, entry) is not None
        module = self._modules.get(path)
        return isinstance(module, ExpertLinear) or takes_factors(module)


def _convert(key: str, converters: Sequence[WeightConverter]) -> tuple[str, int, int] | None:
    """Convert a weight's name in a checkpoint to a layer's path, its part of the layer, and their number."""
    name, pattern = rename_source_key(key, [], converters)
    if pattern is None:
        return (name.removesuffix(".weight"), 0, 1) if name.endswith(".weight") else None
    converter = next(each for each in converters if pattern in each.source_patterns)
    index = re.search(pattern.replace("*.", r"(\d+)\.", 1), key)
    if index is None or not index.groups() or not _is_stacking(converter):
        return None
    module, _, parameter = name.rpartition(".")
    return (
        Entry(module, parameter, int(index[1])).path,
        converter.source_patterns.index(pattern),
        len(converter.source_patterns),
    )


def _is_stacking(converter: WeightConverter) -> bool:
    """Return whether a converter stacks sub-layers, each of which has its parts one below the other."""
    steps = [(type(each), each.dim) for each in converter.operations if hasattr(each, "dim")]
    joined = [(Concatenate, 1)] if len(converter.source_patterns) > 1 else []
    return len(steps) == len(converter.operations) and steps == [(MergeModulelist, 0), *joined]


def _have_equal_widths(pairs: Sequence[Factors]) -> bool:
    return len({(pair.a.shape[1], pair.b.shape[0]) for pair in pairs}) == 1
