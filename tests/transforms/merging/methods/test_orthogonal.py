import torch

from lorary.transforms.merging.methods.orthogonal import nearest_orthonormal


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_columns_are_those_of_the_polar_factor():
    columns = draw(12, 5)
    u, _, vh = torch.linalg.svd(columns, full_matrices=False)
    torch.testing.assert_close(nearest_orthonormal(columns), u @ vh)


def test_orthonormal_columns_stay_as_they_are():
    columns = torch.linalg.qr(draw(12, 5))[0]
    torch.testing.assert_close(nearest_orthonormal(columns), columns)


def test_equal_columns_share_their_direction():
    column = torch.linalg.qr(draw(12, 1))[0]
    found = nearest_orthonormal(torch.cat([column, column], 1))
    torch.testing.assert_close(found, column.expand(-1, 2) / 2**0.5)


def test_more_columns_than_fit_have_orthonormal_rows():
    found = nearest_orthonormal(draw(4, 9))
    torch.testing.assert_close(found @ found.mT, torch.eye(4, dtype=torch.float64))
