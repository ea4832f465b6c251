import pytest
import torch

from lorary.training.loop.rows import ParameterRows


@pytest.fixture
def rows():
    return ParameterRows(3, {"a": [2, 4], "b": [5], "c": []})


def test_parts_are_views_into_the_rows(rows):
    assert rows.num_parameters == 14
    assert [part.shape for part in rows.parts.values()] == [(3, 2, 4), (3, 5), (3,)]
    rows.values.copy_(torch.arange(42.0).view(3, 14))
    assert torch.equal(rows.parts["b"][1], torch.arange(22.0, 27.0))
    found = rows.split_row(rows.values[2])
    assert all(torch.equal(part, rows.parts[name][2]) for name, part in found.items())


def test_gradients_add_up_in_the_row_of_the_slot(rows):
    rows.add_gradients(3 * rows.parts["a"][1].sum() + rows.parts["c"].sum())
    rows.add_gradients(rows.parts["a"][1].sum())
    expected = torch.zeros(3, 14)
    expected[1, :8] = 4
    expected[:, 13] = 1
    assert torch.equal(rows.gradients, expected)


def test_parts_record_no_gradients_where_there_are_none():
    rows = ParameterRows(1, {"weights": [3]}, has_gradients=False)
    assert not rows.parts["weights"].requires_grad
