import pytest

from lorary.models import attach_experts
from lorary.models.same_input import group_same_inputs

SHARED = {
    "llama": [{"q_proj", "k_proj", "v_proj"}, {"o_proj"}, {"gate_proj", "up_proj"}, {"down_proj"}],
    "phi": [{"q_proj", "k_proj", "v_proj", "fc1"}, {"dense"}, {"fc2"}],
    "gpt2": [{"c_attn"}, {"c_proj"}, {"c_fc"}, {"c_proj"}],
    "gpt_neox": [{"query_key_value"}, {"dense"}, {"dense_h_to_4h"}, {"dense_4h_to_h"}],
}


@pytest.mark.parametrize("family", SHARED)
def test_layers_that_read_the_same_input_are_found(build_base, make_expert, family):
    model = build_base(family)
    stack = attach_experts(model, {"poetry": make_expert(model)})
    groups = group_same_inputs(stack)
    assert sorted(path for group in groups for path in group) == sorted(stack.layers)
    endings = [{path.rpartition(".")[2] for path in group} for group in groups]
    assert sorted(map(sorted, endings)) == sorted(map(sorted, SHARED[family] * 2))
    # A group is of one block.
    assert all(len({path.split(".")[2] for path in group}) == 1 for group in groups)


def test_layers_without_experts_are_left_out(llama, make_expert):
    stack = attach_experts(llama, {"poetry": make_expert(llama, targets=["v_proj", "down_proj", "q_proj"])})
    endings = [[path.rpartition(".")[2] for path in group] for group in group_same_inputs(stack)]
    assert endings == [["q_proj", "v_proj"], ["down_proj"]] * 2


def test_who_decides_stays_as_it_was(llama, make_expert, input_ids):
    stack = attach_experts(llama, {"poetry": make_expert(llama)})
    with stack.assign(["poetry"] * 3):
        call = stack.context.active
        group_same_inputs(stack)
        assert stack.context.active is call
