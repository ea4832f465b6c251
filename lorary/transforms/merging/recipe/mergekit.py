"""mergekit's methods, parameters and defaults, and what corresponds to them in lorary.

mergekit's names of methods are valid everywhere. Its defaults are used for recipe files (``read_recipe``);
`merge` and cards of merged experts use lorary's defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class MergekitMethod:
    """A method of mergekit in terms of lorary's methods."""

    method: str
    """A key of ``MERGES``."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Options of that method that are set."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of mergekit that differ from lorary's."""


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

# mergekit's name of a parameter -> lorary's name, where they differ.
PARAMETER_NAMES = {
    "lambda": "scale",
    "select_topk": "density",
    "nuslerp_row_wise": "row_wise",
    "nuslerp_flatten": "flatten",
}
# All parameters of mergekit, by lorary's names. If a method does not use one, mergekit also ignores it.
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
    """Return lorary's name of a method and, for a method of mergekit, the options that are set."""
    found = MERGEKIT.get(name)
    return (name, {}) if found is None else (found.method, found.fixed)


def find_defaults(name: str) -> Mapping[str, Any]:
    """Return the defaults of a method of mergekit that differ from lorary's; ``{}`` for other methods."""
    found = MERGEKIT.get(name)
    return {} if found is None else found.defaults
