"""mergekit's methods, their parameters and defaults, in lorary's words.

Its names are understood wherever a method is named; its defaults hold for recipe files (``read_recipe``),
which are in its dialect. What `merge` and merged experts' cards leave out has lorary's defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class MergekitMethod:
    """What one of mergekit's methods is here."""

    method: str
    """A key of ``MERGES``."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Options that make it this method."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What mergekit's parameters are unless given, where lorary's options are something else."""


_WHOLE = {"density": 1.0}
_DRAWN = {"density": 1.0, "rescale_to": "norm"}

MERGEKIT: dict[str, MergekitMethod] = {
    "linear": MergekitMethod(method="linear", defaults={"normalize": True}),
    "task_arithmetic": MergekitMethod(method="task_arithmetic"),
    "ties": MergekitMethod(method="ties", defaults=_WHOLE),
    "dare_linear": MergekitMethod(method="dare", defaults=_DRAWN),
    "dare_ties": MergekitMethod(method="dare_ties", defaults={**_DRAWN, "normalize": False}),
    "breadcrumbs": MergekitMethod(method="breadcrumbs", defaults=_WHOLE),
    "breadcrumbs_ties": MergekitMethod(
        method="breadcrumbs", fixed={"elect": "sign"}, defaults={**_WHOLE, "normalize": False}
    ),
    "della": MergekitMethod(method="della", defaults=_DRAWN),
    "della_linear": MergekitMethod(method="della", fixed={"elect": "sum"}, defaults=_DRAWN),
    "sce": MergekitMethod(method="sce", defaults=_WHOLE),
    "slerp": MergekitMethod(method="slerp"),
    "nuslerp": MergekitMethod(method="nuslerp"),
    "karcher": MergekitMethod(method="karcher"),
    "model_stock": MergekitMethod(method="model_stock"),
    "arcee_fusion": MergekitMethod(method="arcee_fusion"),
    "passthrough": MergekitMethod(method="linear", fixed={"weight": 1.0}),
}

# mergekit's names of parameters that are called something else here.
PARAMETER_NAMES = {
    "lambda": "scale",
    "select_topk": "density",
    "nuslerp_row_wise": "row_wise",
    "nuslerp_flatten": "flatten",
}
# All of mergekit's parameters, in lorary's words: where a method has no use for one, mergekit ignores it too.
PARAMETERS = frozenset(
    {
        "density",
        "epsilon",
        "filter_wise",
        "flatten",
        "gamma",
        "int8_mask",
        "max_iter",
        "normalize",
        "rescale",
        "row_wise",
        "scale",
        "t",
        "tol",
        "weight",
    }
)


def translate_method(name: str) -> tuple[str, Mapping[str, Any]]:
    """Give lorary's name of a method, and the options that make it what mergekit calls by its own name."""
    found = MERGEKIT.get(name)
    return (name, {}) if found is None else (found.method, found.fixed)


def find_defaults(name: str) -> Mapping[str, Any]:
    """Give mergekit's defaults of one of its methods where they differ from lorary's."""
    found = MERGEKIT.get(name)
    return {} if found is None else found.defaults
