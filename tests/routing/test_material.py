import pytest
import torch

from lorary.routing.material import LayerMaterial, RequestMaterial


def test_a_tensor_is_taken_by_its_name():
    gates = torch.ones(2, 3)
    assert LayerMaterial(num_experts=2, tensors={"gates": gates}).take("gates") is gates


def test_what_was_left_out_cannot_be_taken():
    with pytest.raises(ValueError, match="this router needs means for each of the 2 experts, found none"):
        LayerMaterial(num_experts=2).take("means")


@pytest.mark.parametrize(("tensor", "rows"), [("prototypes", torch.ones(5, 3)), ("gains", torch.ones(5))])
def test_rows_that_are_not_one_per_expert_are_refused(tensor, rows):
    with pytest.raises(ValueError, match=f"{tensor} must have one row for each of the 6 experts, found 5"):
        LayerMaterial(num_experts=6, tensors={tensor: rows})


def test_names_that_are_not_one_per_expert_are_refused():
    with pytest.raises(ValueError, match="names must have one row for each of the 6 experts, found 5"):
        LayerMaterial(num_experts=6, names=tuple("abcde"))


def test_embeddings_that_are_not_one_set_per_expert_are_refused():
    with pytest.raises(ValueError, match="embeddings must be given for each of the 3 experts, found 2"):
        RequestMaterial(num_experts=3, tensors={"embeddings": (torch.ones(1, 4), torch.ones(2, 4))})
