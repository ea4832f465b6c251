import pytest
import torch

from lorary.routing import LayerMaterial


def test_a_tensor_is_taken_by_its_name():
    gates = torch.ones(2, 3)
    assert LayerMaterial(num_experts=2, gates=gates).take("gates") is gates


def test_what_was_left_out_cannot_be_taken():
    with pytest.raises(ValueError, match="this router needs means for each of the 2 experts, found none"):
        LayerMaterial(num_experts=2).take("means")


@pytest.mark.parametrize(
    ("field", "rows"),
    [("prototypes", torch.ones(5, 3)), ("gains", torch.ones(5)), ("names", tuple("abcde"))],
)
def test_rows_that_are_not_one_per_expert_are_refused(field, rows):
    with pytest.raises(ValueError, match=f"{field} must have one row for each of the 6 experts, found 5"):
        LayerMaterial(num_experts=6, **{field: rows})
