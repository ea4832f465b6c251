"""Settings by block in recipes of mergekit: lists of values, and slices."""

import pytest

from lorary.errors import IncompatibleExpert
from lorary.transforms.merging import merge_by_recipe, plan_merge
from tests.transforms.merging.recipe.people import BLOCKS, GRADIENT, PATHS, SLICES, check, draw, slerp


def depth_of(path, num_blocks):
    return int(path.split(".")[2]) / (num_blocks - 1) if "layers" in path else 1.0


def test_lists_run_over_the_blocks_and_the_output_layer_takes_the_last_value(library, read):
    def expected(path, d):
        depth = depth_of(path, BLOCKS)
        return depth * d["a"] + (1 - depth) * d["b"]

    check(library, read(GRADIENT), expected)


def test_lists_run_over_the_blocks_of_the_base_model(tmp_path, read):
    """They once ran over the blocks that the experts change."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text('{"num_hidden_layers": 4}')
    paths = PATHS[:4]
    few = {name: draw(name, paths, str(tmp_path / "base")) for name in "ab"}

    def expected(path, d):
        return depth_of(path, 4) * d["a"] + (1 - depth_of(path, 4)) * d["b"]

    check(few, read(GRADIENT), expected)
    assert plan_merge(few, read(GRADIENT)).num_blocks == 4
    unknown = {name: draw(name, paths) for name in "ab"}
    check(unknown, read(GRADIENT + "num_blocks: 4\n"), expected)


def test_slices_that_cover_all_blocks_are_a_merge(library, read):
    def expected(path, d):
        depth = depth_of(path, BLOCKS)
        t = 0.5 if path == "lm_head" else depth if "self_attn" in path else 1 - depth
        return slerp(d["a"], d["b"], t)

    merged = check(library, read(SLICES), expected)
    assert any("filter 'embed_tokens'" in sentence for sentence in merged.card.provenance["ignored"])


def test_slices_may_have_models_of_their_own(library, read):
    recipe = read(
        "slices:\n- sources: [{model: a, layer_range: [0, 1]}]\n"
        "- sources: [{model: b, layer_range: [1, 4]}]\nmerge_method: passthrough\n"
    )
    check(library, recipe, lambda path, d: d["a"] if ".0." in path else d["b"])


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (
            "[{model: a, layer_range: [0, 3]}]\n- sources: [{model: b, layer_range: [1, 4]}]",
            "found block 1 instead of 3",
        ),
        ("[{model: a, layer_range: [1, 4]}]", "found block 1 instead of 0"),
        (
            "[{model: a, layer_range: [0, 2]}, {model: b, layer_range: [2, 4]}]",
            "must have the same layer_range",
        ),
    ],
)
def test_a_frankenmerge_is_refused_as_such(read, sources, message):
    with pytest.raises(ValueError, match="frankenmerges, which") as caught:
        read(f"slices:\n- sources: {sources}\nmerge_method: passthrough\n")
    assert message in str(caught.value)


def test_slices_that_leave_blocks_out_are_refused(tmp_path, library, read):
    with pytest.raises(
        IncompatibleExpert,
        match=r"the recipe's slices cover 2 blocks \(0 to 1\) and an expert changes block 3",
    ):
        merge_by_recipe(library, read(SLICES.replace("[0, 4]", "[0, 2]")))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text('{"text_config": {"num_hidden_layers": 8}}')
    deep = {name: draw(name, PATHS, str(tmp_path / "base")) for name in "ab"}
    with pytest.raises(
        IncompatibleExpert, match=r"slices must cover 8 blocks of base model .*, found 4: cover all"
    ):
        merge_by_recipe(deep, read(SLICES))
