"""Find sequences with equal beginnings, and the number of cells that they need if they share these."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from lorary.data.tokens import TokenizedExample

TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """Sequences of one group in one row, sorted so that neighbours share most."""

    members: list[int]
    """Indices of the sequences."""
    num_cells: int
    """Cells that they need together."""


def read_tokens(sequence: TokenizedExample) -> TokenIds:
    """Give what the model has to read of an example: all but the last target token."""
    return (*sequence.prompt_ids, *sequence.target_ids)[:-1]


def measure_overlap(left: TokenIds, right: TokenIds) -> int:
    """Count the tokens with which both begin."""
    shortest = min(len(left), len(right))
    for index in range(shortest):
        if left[index] != right[index]:
            return index
    return shortest


def cut_pieces(tokens: Sequence[TokenIds], groups: Sequence[Hashable] | None, row_length: int) -> list[Piece]:
    """Gather sequences that may share into pieces that fit into a row.

    Args:
        tokens: what the model reads of each sequence.
        groups: which sequences may share; None for none.
        row_length: most cells of a piece; a single longer sequence is a piece of its own.
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
    """Divide sequences into forward passes, those that share most in the same one.

    Args:
        sequences: prompts with their targets.
        groups: which of them may share, see ``pack_sequences``; None for none.
        max_cells: what one pass may hold; a single longer sequence runs alone.

    Returns:
        The indices of each pass; those that share nothing are sorted by length, so that little is padded.
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
    """Divide sequences into passes that hold so many cells when each is padded to the longest of its pass.

    Returns:
        The indices of each pass, short sequences first; a longer one than ``max_cells`` runs alone.
    """
    lengths = [len(read_tokens(sequence)) for sequence in sequences]
    passes: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not passes or (len(passes[-1]) + 1) * lengths[index] > max_cells:
            passes.append([])
        passes[-1].append(index)
    return passes


def _walk(tokens: Sequence[TokenIds], groups: Sequence[Hashable] | None) -> Iterator[tuple[int, int, bool]]:
    """Yield each sequence, the cells it needs after its neighbour, and whether it opens a group."""
    if groups is None:
        for index in sorted(range(len(tokens)), key=lambda index: len(tokens[index])):
            yield index, len(tokens[index]), True
        return
    gathered: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        gathered.setdefault(group, []).append(index)
    for members in gathered.values():
        before: TokenIds = ()
        for place, index in enumerate(sorted(members, key=tokens.__getitem__)):
            yield index, len(tokens[index]) - measure_overlap(before, tokens[index]), place == 0
            before = tokens[index]
