import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from lorary.data import TokenizedExample
from lorary.models import find_layers
from lorary.models.attach import attach_slots
from lorary.passes import find_layout, score_pass, split_passes
from lorary.passes.layout import Layout


def stack_on(model):
    return attach_slots(model, find_layers(model, "all-linear"), num_slots=2, rank=2)


@pytest.mark.parametrize(("window", "expected"), [(32, "shared"), (31, "packed"), (None, "shared")])
def test_a_window_shorter_than_a_text_forbids_masks_of_our_own(build_base, window, expected):
    assert find_layout(stack_on(build_base("mistral", sliding_window=window)), 32, 40) == expected


@pytest.mark.parametrize(("row", "shares"), [(64, True), (65, False)])
def test_a_window_of_cells_shorter_than_a_row_forbids_shared_beginnings(row, shares):
    """Regression: GPT-Neo did not see beginnings that lay further back in the row than its window."""
    config = GPTNeoConfig(
        vocab_size=96,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        max_position_embeddings=256,
        window_size=64,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    stack = stack_on(GPTNeoForCausalLM(config).eval().requires_grad_(False))
    layout = find_layout(stack, 35, row)
    assert layout.shares is shares
    endings = torch.randint(3, 96, (8, 15)).tolist()
    texts = [TokenizedExample(tuple(range(10, 30)), tuple(ending)) for ending in endings]
    torch.testing.assert_close(
        score(stack, texts, layout, row), score(stack, texts, Layout.ALONE, row), rtol=1e-4, atol=1e-3
    )


@torch.no_grad()
def score(stack, texts, layout, row):
    sums = torch.zeros(len(texts))
    for part in split_passes(texts, [0] * len(texts), layout, tokens_per_pass=400, row_length=row):
        sums.index_add_(0, part.sequence, score_pass(stack, part, None))
    return sums


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
