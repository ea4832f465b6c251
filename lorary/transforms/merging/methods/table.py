"""All merging methods by name."""

from typing import Any

from lorary.errors import suggest
from lorary.files import quote
from lorary.transforms.merging.kind import MergeKind
from lorary.transforms.merging.methods.core import CoreConfig, merge_core
from lorary.transforms.merging.methods.ctm import CtmConfig, merge_ctm
from lorary.transforms.merging.methods.inner import HasInner, find_inner
from lorary.transforms.merging.methods.plain import PLAIN

MERGES: dict[str, MergeKind] = {
    **PLAIN,
    "core": MergeKind(config=CoreConfig, merge=merge_core, spaces=("core",)),
    "ctm": MergeKind(config=CtmConfig, merge=merge_ctm, spaces=("core",)),
}

# Methods of mergekit that lorary lacks -> advice.
_ELSEWHERE = {
    "multislerp": "use 'karcher', another mean on the sphere",
    "nearswap": "use 'slerp' or 'arcee_fusion'",
    "ram": "use 'ties' or 'sce'",
    "ramplus_tl": "use 'ties' or 'sce'",
}


def merge_named(name: str) -> MergeKind:
    """Return the merging method of a name.

    Raises:
        ValueError: if there is none; the message has the nearest name.
    """
    if name not in MERGES:
        hint = _ELSEWHERE.get(name) or suggest(name, MERGES)
        raise ValueError(f"merge_method must be a known method, found {quote(name)}: {hint}")
    return MERGES[name]


def find_rules(name: str, config: Any) -> MergeKind:
    """Return the method whose properties apply: its inner method if it has one, else the method itself."""
    return find_inner(config) if isinstance(config, HasInner) else merge_named(name)
