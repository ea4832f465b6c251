import pytest
import torch

from lorary.routing import RequestMaterial


def test_embeddings_that_are_not_one_set_per_expert_are_refused():
    with pytest.raises(ValueError, match="embeddings must be given for each of the 3 experts, found 2"):
        RequestMaterial(num_experts=3, embeddings=(torch.ones(1, 4), torch.ones(2, 4)))
