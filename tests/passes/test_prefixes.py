import pytest

from lorary.data import TokenizedExample
from lorary.passes.prefixes import cut_pieces, measure_overlap, plan_passes, read_tokens


def examples_of(*lengths):
    """Examples with this many tokens to read, no two of which begin alike."""
    return [TokenizedExample((10 + index,), (1,) * length) for index, length in enumerate(lengths)]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [((), (1,), 0), ((1, 2), (1, 2), 2), ((1, 2), (1, 2, 3), 2), ((1, 2, 3), (1, 9, 3), 1), ((1,), (2,), 0)],
)
def test_the_overlap_is_what_both_begin_with(left, right, expected):
    assert measure_overlap(left, right) == measure_overlap(right, left) == expected


def test_the_last_target_token_is_not_read():
    assert read_tokens(TokenizedExample((1, 2), (3, 4))) == (1, 2, 3)
    assert read_tokens(TokenizedExample((1, 2), (3,))) == (1, 2)


@pytest.mark.parametrize(
    ("lengths", "passes"),
    [
        ([], []),
        ([5], [[5]]),
        ([3, 4, 3], [[3, 3, 4]]),
        ([5, 3, 3], [[3, 3], [5]]),
        ([12, 1, 11, 1], [[1, 1], [11], [12]]),
    ],
)
def test_passes_of_sequences_that_share_nothing_hold_neighbours_in_length(lengths, passes):
    found = plan_passes(examples_of(*lengths), None, 10)
    assert [[lengths[index] for index in members] for members in found] == passes


def test_passes_count_shared_tokens_once():
    examples = [TokenizedExample((1, 2, 3, 4, number), (9,)) for number in range(7)]
    assert [len(members) for members in plan_passes(examples, [0] * 7, 11)] == [7]
    assert [len(members) for members in plan_passes(examples, [0] * 7, 8)] == [4, 3]
    assert [len(members) for members in plan_passes(examples, None, 11)] == [2, 2, 2, 1]


def test_every_sequence_is_in_one_pass_and_groups_stay_together():
    examples = examples_of(3, 4, 5, 3, 4, 5)
    found = plan_passes(examples, ["b", "a", "b", "a", "b", "a"], 100)
    assert found == [[0, 2, 4, 1, 3, 5]]


def test_pieces_hold_one_group_each_and_fit_into_a_row():
    tokens = [(1, 2, 3, n) for n in range(4)] + [(1, 2, 3, 9), (7,)]
    pieces = cut_pieces(tokens, [0, 0, 0, 0, 1, 1], 6)
    assert [(piece.members, piece.num_cells) for piece in pieces] == [([0, 1, 2], 6), ([3], 4), ([4, 5], 5)]


def test_without_groups_each_sequence_is_a_piece():
    pieces = cut_pieces([(1, 2), (1, 2, 3)], None, 10)
    assert [(piece.members, piece.num_cells) for piece in pieces] == [([0], 2), ([1], 3)]
