import pytest
import torch

from lorary.lowrank.pairs import match_pair, pad_ranks


def test_padded_factors_multiply_to_the_same_products(draw):
    pairs = [(draw(rank, 12), draw(7, rank)) for rank in (2, 5, 9)]
    a, b = pad_ranks(pairs)
    assert a.shape == (3, 9, 12) and b.shape == (3, 7, 9)
    for index, (own_a, own_b) in enumerate(pairs):
        torch.testing.assert_close(b[index] @ a[index], own_b @ own_a)


def test_a_missing_pair_becomes_zeros(draw):
    a, b = pad_ranks([None, (draw(2, 12), draw(7, 2)), None])
    assert a.shape == (3, 2, 12)
    assert not a[[0, 2]].any() and not b[[0, 2]].any() and a[1].any()


def test_dtype_holds_every_factor_unless_one_is_asked_for(draw):
    pairs = [(draw(2, 12, dtype=torch.bfloat16), draw(7, 2, dtype=torch.float32))]
    assert pad_ranks(pairs)[0].dtype == torch.float32
    a, b = pad_ranks(pairs, torch.float16)
    assert a.dtype == b.dtype == torch.float16
    assert torch.equal(b[0], pairs[0][1].half())


def test_stacks_are_copies(draw):
    own_a, own_b = draw(2, 12), draw(7, 2)
    before = own_a.clone()
    pad_ranks([(own_a, own_b)])[0].zero_()
    assert torch.equal(own_a, before)


def test_a_pair_in_float32_is_not_copied(draw):
    a, b = draw(2, 12), draw(7, 2)
    assert match_pair(a, b)[0] is a and match_pair(a, b)[1] is b


def test_pairs_of_different_layers_are_refused(draw):
    with pytest.raises(ValueError, match=r"a \[R, 12\] and b \[7, R\].*found a \[2, 13\].*at index 1"):
        pad_ranks([(draw(2, 12), draw(7, 2)), (draw(2, 13), draw(7, 2))])
    with pytest.raises(ValueError, match="at index 0"):
        pad_ranks([(draw(2, 12), draw(7, 3))])


def test_nothing_to_stack_is_refused():
    with pytest.raises(ValueError, match=r"at least one pair of factors .* found none among 2"):
        pad_ranks([None, None])
