"""Every merging method by name."""

from typing import Any

from lorary.errors import suggest
from lorary.files import quote
from lorary.transforms.merging.kind import MergeKind
from lorary.transforms.merging.methods.core import CoreConfig, merge_core
from lorary.transforms.merging.methods.plain import PLAIN

MERGES: dict[str, MergeKind] = {
    **PLAIN,
    "core": MergeKind(config=CoreConfig, merge=merge_core, spaces=("core",)),
}

# Methods of mergekit that are not here -> what comes nearest.
_ELSEWHERE = {
    "multislerp": "use 'karcher', another mean on the sphere",
    "nearswap": "use 'slerp' or 'arcee_fusion'",
    "ram": "use 'ties' or 'sce'",
    "ramplus_tl": "use 'ties' or 'sce'",
}


def merge_named(name: str) -> MergeKind:
    """Look a merging method up by name.

    Raises:
        ValueError: if there is none of that name; the message has the nearest.
    """
    if name not in MERGES:
        hint = _ELSEWHERE.get(name) or suggest(name, MERGES)
        raise ValueError(f"no merging method is named {quote(name)}: {hint}")
    return MERGES[name]


def find_rules(name: str, config: Any) -> MergeKind:
    """Give the method whose rules on weights, ranks and experts hold: ``core`` has its inner one's."""
    return config.kind if isinstance(config, CoreConfig) else merge_named(name)
