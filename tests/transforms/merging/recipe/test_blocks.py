import pytest

from lorary.transforms.merging.recipe.blocks import compute_depths, find_largest_block, parse_place


def test_depth_is_the_first_number_in_a_path_over_the_last_one():
    paths = ["model.layers.0.q", "model.layers.3.experts.7.up", "model.layers.6.q", "lm_head"]
    assert compute_depths(paths) == dict(zip(paths, [0.0, 0.5, 1.0, 1.0], strict=True))
    assert compute_depths(["h10.q2"]) == {"h10.q2": 1.0}


def test_depth_runs_over_the_blocks_of_the_base_model_where_experts_change_fewer():
    """Lists of values once ran over the blocks that the experts change."""
    paths = ["model.layers.0.q", "model.layers.1.q", "lm_head"]
    assert compute_depths(paths, 5) == dict(zip(paths, [0.0, 0.25, 1.0], strict=True))


def test_the_only_block_is_the_last_one():
    assert compute_depths(["lm_head", "layers.0.q"]) == {"lm_head": 1.0, "layers.0.q": 1.0}


@pytest.mark.parametrize("path", ["model.embed_tokens", "transformer.wte", "gpt_neox.embed_in", "wpe"])
def test_embeddings_are_before_the_first_block(path):
    assert compute_depths([path, "layers.0.q", "layers.1.q"])[path] == 0.0


@pytest.mark.parametrize("path", ["lm_head", "embed_out", "model.decoder.project_out", "score"])
def test_everything_else_outside_of_the_blocks_is_behind_the_last_one(path):
    assert compute_depths([path, "layers.0.q", "layers.1.q"])[path] == 1.0


def test_each_list_of_blocks_is_counted_by_itself():
    paths = ["encoder.block.0.layer.0.q", "encoder.block.2.layer.0.q", "decoder.block.1.layer.1.q"]
    assert compute_depths(paths, 9) == dict(zip(paths, [0.0, 1.0, 1.0], strict=True))
    assert find_largest_block(paths) is None


def test_the_largest_block_is_found():
    assert find_largest_block(["lm_head", "model.layers.4.q", "model.layers.11.experts.40.up"]) == 11
    assert find_largest_block(["lm_head"]) is None
    assert parse_place("model.layers.11.experts.40.up").tower == "model.layers"
