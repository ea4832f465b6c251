import pytest

from lorary.models import find_layers
from lorary.models.attach import attach_slots
from lorary.passes import Layout, find_layout


def stack_on(model):
    return attach_slots(model, find_layers(model, "all-linear"), num_slots=2, rank=2)


@pytest.mark.parametrize(("window", "expected"), [(32, "shared"), (31, "packed"), (None, "shared")])
def test_a_window_shorter_than_a_text_forbids_masks_of_our_own(build_base, window, expected):
    assert find_layout(stack_on(build_base("mistral", sliding_window=window)), 32, 40) == expected


@pytest.mark.parametrize(("longest", "expected"), [(16, "shared"), (17, "alone")])
def test_texts_that_would_change_the_positions_of_others_run_alone(build_base, longest, expected):
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    model = build_base("llama", rope_parameters=rope, max_position_embeddings=16)
    assert find_layout(stack_on(model), longest, 40) == expected


def test_the_layout_does_not_depend_on_a_default_router(build_base, make_expert):
    from lorary.models import attach_experts

    model = build_base("llama")
    stack = attach_experts(model, {"poetry": make_expert(model)})
    with stack.assign(["poetry"] * 3):
        assert find_layout(stack, 32, 40) is Layout.SHARED


def test_keys_compressed_in_blocks_allow_one_text_per_row(build_base):
    model = build_base("llama")
    model.config.compress_rates = {"heavily_compressed_attention": 128}
    assert find_layout(stack_on(model), 32, 40) is Layout.PADDED


def test_chunks_of_a_row_shorter_than_the_row_allow_no_packing_by_positions(build_base):
    model = build_base("llama")
    stack = stack_on(model)
    model.config.attention_chunk_size = 39
    assert find_layout(stack, 32, 40) is Layout.MASKED
    model.config.attention_chunk_size = 31
    assert find_layout(stack, 32, 40) is Layout.PADDED
