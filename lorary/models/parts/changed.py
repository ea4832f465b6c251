"""Experts whose copies of the base model's weights are not the base model's."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedModel

from lorary.experts import Expert
from lorary.experts.parts.leaving_out import leave_out_kinds
from lorary.experts.parts.low_rank_only import is_linear, list_trained_kinds
from lorary.models.fit_paths import fit_paths
from lorary.models.parts.settle import settle_parts


def find_changed(model: PreTrainedModel, experts: Mapping[str, Expert]) -> dict[str, list[str]]:
    """Find the experts whose copies of the base model's weights, made by PEFT, are not the base model's.

    Args:
        model: the base model, with experts or without.
        experts: name -> expert with the model's paths.

    Returns:
        Name -> kinds of such an expert's parts on this model.
    """
    found = {
        name: settle_parts(model, expert).kinds
        for name, expert in experts.items()
        if not is_linear(expert.kinds)
    }
    return {name: kinds for name, kinds in found.items() if not is_linear(kinds)}


def keep_low_rank_on(
    model: PreTrainedModel, experts: Mapping[str, Expert], names: Sequence[str], action: str
) -> list[str]:
    """Return the experts that change a model by low-rank factors only. One warning names the others.

    Args:
        model: the base model.
        experts: a library or any other mapping.
        names: the experts, none of which the user named.
        action: what needs low-rank factors, such as ``"adaptation"``.

    Raises:
        IncompatibleExpert: if none is left, although there are some.
    """
    return leave_out_kinds(find_kinds_on(model, experts, names), action)


def find_kinds_on(
    model: PreTrainedModel, experts: Mapping[str, Expert], names: Sequence[str]
) -> dict[str, Sequence[str]]:
    """Return the kinds of experts' parts on a model, without copies of weights that are the model's.

    Args:
        model: the base model.
        experts: a library or any other mapping.
        names: the experts.

    Returns:
        Name -> kinds; empty for experts of low-rank factors only.
    """
    kinds: dict[str, Sequence[str]] = {name: list_trained_kinds(experts[name]) for name in names}
    copies = {name: experts[name] for name, own in kinds.items() if not own and experts[name].kinds}
    return kinds | find_changed(model, fit_paths(model, copies))
