"""Finding sequences with shared prefixes, and counting the cells that they need if these are shared."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from lorary.data.tokens import TokenizedExample

TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """Sequences of one group in one row, sorted so that neighbours share the longest prefixes."""

    members: list[int]
    """Indices of the sequences."""
    num_cells: int
    """Number of cells of all of them together."""


def read_tokens(sequence: TokenizedExample) -> TokenIds:
    """Return the tokens of an example that the model computes: all except the last target."""
    return (*sequence.prompt_ids, *sequence.target_ids)[:-1]


def measure_overlap(left: TokenIds, right: TokenIds) -> int:
    """Return the length of the common prefix of two sequences."""
    shortest = min(len(left), len(right))
    for index in range(shortest):
        if left[index] != right[index]:
            return index
    return shortest


def cut_pieces(tokens: Sequence[TokenIds], groups: Sequence[Hashable] | None, row_length: int) -> list[Piece]:
    """Gather the sequences of each group into pieces that fit into a row.

    Args:
        tokens: the tokens of each sequence, from ``read_tokens``.
        groups: the group of each sequence; None if nothing is shared.
        row_length: maximum number of cells of a piece; a longer sequence is a separate piece.
    """
    pieces: list[Piece] = []
    members: list[int] = []
    total = 0
    for index, needed, is_first in _walk(tokens, groups):
        if members and (is_first or total + needed > row_length):
            pieces.append(Piece(members, total))
            members, total, needed = [], 0, len(tokens[index])
        members.append(index)
        total += needed
    return [*pieces, Piece(members, total)] if members else pieces


def plan_passes(
    sequences: Sequence[TokenizedExample], groups: Sequence[Hashable] | None, max_cells: int
) -> list[list[int]]:
    """Divide sequences into forward passes, so that sequences with long shared prefixes are in one pass.

    Args:
        sequences: prompts with their targets.
        groups: the group of each sequence, see ``pack_sequences``; None if nothing is shared.
        max_cells: maximum number of cells of a pass; a longer sequence runs alone.

    Returns:
        The indices of the sequences of each pass. If nothing is shared, they are sorted by length, which
        needs little padding.
    """
    tokens = [read_tokens(sequence) for sequence in sequences]
    passes: list[list[int]] = []
    room = 0
    for index, needed, _ in _walk(tokens, groups):
        if needed > room:
            passes.append([])
            room, needed = max_cells, len(tokens[index])
        passes[-1].append(index)
        room -= needed
    return passes


def group_padded(sequences: Sequence[TokenizedExample], max_cells: int) -> list[list[int]]:
    """Divide sequences into passes with a row per sequence, of at most ``max_cells`` cells with padding.

    Returns:
        The indices of the sequences of each pass, short sequences first; one longer than ``max_cells`` runs
        alone.
    """
    lengths = [len(read_tokens(sequence)) for sequence in sequences]
    passes: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not passes or (len(passes[-1]) + 1) * lengths[index] > max_cells:
            passes.append([])
        passes[-1].append(index)
    return passes


def _walk(tokens: Sequence[TokenIds], groups: Sequence[Hashable] | None) -> Iterator[tuple[int, int, bool]]:
    """Yield each sequence, the cells that it needs after the previous one, and whether it begins a group."""
    if groups is None:
        for index in sorted(range(len(tokens)), key=lambda index: len(tokens[index])):
            yield index, len(tokens[index]), True
        return
    gathered: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        gathered.setdefault(group, []).append(index)
    for members in gathered.values():
        before: TokenIds = ()
        # In lexicographic order, neighbours share the longest prefixes.
        for place, index in enumerate(sorted(members, key=tokens.__getitem__)):
            yield index, len(tokens[index]) - measure_overlap(before, tokens[index]), place == 0
            before = tokens[index]
