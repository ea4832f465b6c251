"""Renaming experts' modules between a multimodal model and its text model, which have the same layers.

A class for text and images has its text model in the submodule ``language_model``, in some versions before
``model`` in the path and in some after it. The class for text alone has no such submodule.
"""

import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from torch import nn
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
from lorary.experts.copied_weights import NOTE as COPIED_WEIGHTS
from lorary.experts.text_model import leave_out_text_model
from lorary.files import quote
from lorary.models.expert_linear import ExpertLinear
from lorary.models.fit_stacked import StackedFit
from lorary.models.layers import is_base_layer


def fit_paths(model: PreTrainedModel, experts: Mapping[str, Expert]) -> dict[str, Expert]:
    """Rename the modules of experts to the paths of a model's layers, if only ``language_model`` differs.

    Experts of mixtures with a module per sub-layer are fitted to stacked mixtures, see ``fit_stacked``.

    Experts that fit already, or that cannot be made to fit, are returned unchanged. One warning lists the
    renamed ones.

    Args:
        model: the base model, with experts or without.
        experts: name -> expert.

    Returns:
        Name -> expert, for the same names.

    Raises:
        IncompatibleExpert: if a module could be either of two layers.
    """
    modules = dict(model.named_modules())
    # Experts from files of the same layout share one outlines object, so paths are searched once for them.
    different = {_identify(expert): expert for expert in experts.values()}
    renames = {key: _find_renames(model, expert, modules) for key, expert in different.items()}
    fitted = {
        name: expert if (paths := renames[_identify(expert)]) is None else _rename(model, expert, paths)
        for name, expert in experts.items()
    }
    stacked = StackedFit(model, modules)
    renamed = [name for name, expert in experts.items() if fitted[name] is not expert]
    if renamed:
        pairs = zip(experts[renamed[0]].paths, fitted[renamed[0]].paths, strict=True)
        old, new = next((old, new) for old, new in pairs if old != new)
        more = f" and {len(renamed) - 1} more" if len(renamed) > 1 else ""
        warnings.warn(
            f"expert {renamed[0]!r}{more}: trained on another class of model, so {quote(old, 100)} is used "
            f"as {quote(new, 100)} of this {type(model).__name__}",
            stacklevel=2,
        )
    return {name: stacked.fit(expert) for name, expert in fitted.items()}


def _identify(expert: Expert) -> tuple[int, int]:
    """Return a key of the modules that an expert changes; most experts have no parts."""
    return id(expert.outlines), id(expert.part_outlines) if expert.parts else 0


def _find_renames(
    model: PreTrainedModel, expert: Expert, modules: Mapping[str, nn.Module]
) -> dict[str, str] | None:
    """Find the path of each module in the model; None if nothing needs renaming or not all can be renamed."""
    if all(_is_layer(modules.get(path)) for path in expert.outlines) and all(
        path in modules for path in expert.part_outlines
    ):
        return None
    known: dict[str, list[str]] = defaultdict(list)
    for path in modules:
        known[leave_out_text_model(path)].append(path)
    found = {
        path: [
            each
            for each in known.get(leave_out_text_model(path), [])
            if path not in expert.outlines or _is_layer(modules[each])
        ]
        for path in expert.paths
    }
    for path, layers in found.items():
        if len(layers) > 1:
            raise IncompatibleExpert(
                f"expert {expert.name!r} changes {quote(path, 100)}, which could be {quote(layers[0], 100)} "
                f"or {quote(layers[1], 100)} of this {type(model).__name__}: rename the tensors in its "
                "file to the layers that it was trained on"
            )
    renames = {path: layers[0] for path, layers in found.items() if layers}
    is_whole = len(renames) == len(set(renames.values())) == len(expert.paths)
    return renames if is_whole else None


def _rename(model: PreTrainedModel, expert: Expert, paths: Mapping[str, str]) -> Expert:
    renamed = expert.rename_modules(paths)
    copies = expert.card.provenance.get(COPIED_WEIGHTS)
    if not isinstance(copies, dict):
        return renamed
    # The card's hashes of base weights are stored by path, so these paths are renamed too.
    weights = {leave_out_text_model(path): path for path, _ in model.named_parameters(remove_duplicate=False)}
    moved = {weights.get(leave_out_text_model(path), path): described for path, described in copies.items()}
    return replace(
        renamed, card=replace(expert.card, provenance={**expert.card.provenance, COPIED_WEIGHTS: moved})
    )


def _is_layer(module: nn.Module | None) -> bool:
    return isinstance(module, ExpertLinear) or (module is not None and is_base_layer(module))
