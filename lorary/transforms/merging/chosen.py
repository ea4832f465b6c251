"""The experts that are merged if none is named."""

from collections.abc import Mapping, Sequence

from lorary.experts import Expert
from lorary.experts.parts.leaving_out import keep_low_rank
from lorary.experts.parts.low_rank_only import list_trained_kinds


def keep_mergeable(experts: Mapping[str, Expert], names: Sequence[str]) -> list[str]:
    """Return the experts of low-rank factors, and name the others in one warning.

    If all have sparse changes, these are returned. Experts of both kinds are merged if they are named.

    Args:
        experts: a library or any other mapping.
        names: the experts, none of which the user named.

    Raises:
        IncompatibleExpert: if no expert can be merged with others.
    """
    if names and all(list_trained_kinds(experts[name]) == ["sparse"] for name in names):
        return list(names)
    return keep_low_rank(experts, names, "merging")
