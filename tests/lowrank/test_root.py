import torch

from lorary.lowrank.root import gram_root


def test_the_root_times_itself_is_the_gram_matrix(draw):
    rows = draw(4, 5, 9, dtype=torch.float64)
    gram = rows @ rows.mT
    root = gram_root(gram)
    torch.testing.assert_close(root @ root.mT, gram)


def test_singular_and_zero_gram_matrices_have_roots_too(draw):
    rows = draw(3, 5, 2, dtype=torch.float64)
    rows[1] = 0
    rows[2, 3] = 0
    gram = rows @ rows.mT
    root = gram_root(gram)
    torch.testing.assert_close(root @ root.mT, gram, rtol=1e-7, atol=1e-7)
    assert not root[1].any() and not root[2, 3].any()


def test_rows_of_very_different_lengths_stay_exact(draw):
    rows = draw(1, 4, 9, dtype=torch.float64) * torch.tensor([1.0, 1e-3, 1e-6, 1e3])[:, None]
    gram = rows @ rows.mT
    root = gram_root(gram)
    torch.testing.assert_close(root @ root.mT, gram, rtol=1e-10, atol=0)
