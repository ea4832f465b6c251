"""The starts of a transfer matrix: a library's experts, and merges of its clusters and of all experts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lorary.adaptation.chosen import hash_experts
from lorary.adaptation.transfer_matrix.kinds import START_KINDS
from lorary.errors import suggest
from lorary.experts import Expert
from lorary.files import quote, say_count
from lorary.transforms import cluster_experts, merge
from lorary.transforms.stacks import choose_names

FEWEST_CLUSTERED = 3
"""With fewer experts, a cluster is a single expert or all of them."""
ACTION = "a transfer matrix"
"""The action that needs low-rank factors, for messages."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """An expert from which trainings start; it is made when it is first needed."""

    name: str
    """Its name in the matrix."""
    parts: tuple[str, ...]
    """The experts that it is made of."""
    identity: tuple[str, ...]
    """Hashes of these experts, and how they are combined."""
    make: Callable[[], Expert]
    """Makes the expert."""

    @cached_property
    def expert(self) -> Expert:
        """The expert."""
        return self.make()


def list_starts(
    experts: Mapping[str, Expert],
    names: Sequence[str] | None,
    kinds: Sequence[str],
    rank: int,
    taken: Sequence[str] = (),
) -> dict[str, Start]:
    """List starts by name.

    A cluster's start is the mean of its members' weight changes, truncated to a rank; ``general`` is that of
    all experts. Clusters are those of ``cluster_experts``; one with a single member is left out.

    Args:
        experts: a library or any other mapping.
        names: the experts; None for those that ``list_routed`` lists.
        kinds: keys of ``START_KINDS``, at least one.
        rank: of merged experts.
        taken: names of controls.

    Raises:
        ValueError: if a kind is unknown or there is none, a name is given twice or is that of a control, or
            no start of these kinds can be made.
        UnknownExpert: if there is no expert of a name.
    """
    check_kinds(kinds)
    chosen = choose_names(experts, names, ACTION)
    for name in taken:
        if name in chosen:
            raise ValueError(f"{quote(name)} is the name of a control: rename the expert, or leave it out")
    hashes = hash_experts(experts, chosen)
    groups: dict[str, tuple[str, ...]] = {}
    if "clusters" in kinds and len(chosen) >= FEWEST_CLUSTERED:
        members = [own for own in cluster_experts(experts, names=chosen).members if len(own) > 1]
        groups |= {f"cluster {number}": own for number, own in enumerate(members, 1)}
    if "general" in kinds and len(chosen) > 1:
        groups["general"] = tuple(chosen)
    blocked = set(chosen)
    merged = [
        _outline_merge(experts, _find_free(name, blocked), own, hashes, rank) for name, own in groups.items()
    ]
    single = [_outline_expert(experts, name, hashes[name]) for name in chosen] if "experts" in kinds else []
    if not single and not merged:
        raise ValueError(
            f"starts {', '.join(kinds)} cannot be made of {say_count(len(chosen), 'expert')}: general needs "
            f"2, clusters need {FEWEST_CLUSTERED}, two of them similar; add the kind experts"
        )
    return {start.name: start for start in (*single, *merged)}


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuse unknown kinds of starts, and none.

    Raises:
        ValueError: with all unknown kinds.
    """
    if not kinds:
        raise ValueError(
            f"starts must be of at least one known kind, found none: known are {', '.join(START_KINDS)}"
        )
    unknown = [
        f"found {quote(kind, 60)}: {suggest(str(kind)[:200], START_KINDS)}"
        for kind in kinds
        if kind not in START_KINDS
    ]
    if unknown:
        raise ValueError(f"starts must be of at least one known kind, {'; '.join(unknown)}")


def _outline_expert(experts: Mapping[str, Expert], name: str, digest: str) -> Start:
    return Start(name=name, parts=(name,), identity=("expert", digest), make=lambda: experts[name])


def _outline_merge(
    experts: Mapping[str, Expert], name: str, parts: tuple[str, ...], hashes: Mapping[str, str], rank: int
) -> Start:
    identity = ("mean", str(rank), *sorted(hashes[part] for part in parts))
    return Start(
        name=name,
        parts=parts,
        identity=identity,
        # In the order of names, because sums of floating-point numbers depend on their order.
        make=lambda: _merge(experts, sorted(parts), rank),
    )


def _merge(experts: Mapping[str, Expert], names: Sequence[str], rank: int) -> Expert:
    """Return the mean of experts, truncated to a rank if the sum of their ranks is larger."""
    most = sum(experts[name].max_rank for name in names)
    return merge(experts, "linear", names=names, rank=min(rank, most), layers="all").rename("merged")


def _find_free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "+"
    return name
