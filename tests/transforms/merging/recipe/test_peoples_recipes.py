"""Recipes as people write them for mergekit, each with the dense merge that mergekit makes of it."""

from dataclasses import replace

import pytest
import torch

from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.experts import Expert, Factors
from lorary.transforms.merging import (
    describe_recipe,
    merge_by_recipe,
    parse_recipe,
    plan_merge,
    read_recipe,
    read_recipes,
)

BLOCKS = 4
PATHS = [
    f"model.layers.{block}.{name}" for block in range(BLOCKS) for name in ("self_attn.q_proj", "mlp.up_proj")
]


def draw(name, paths=(*PATHS, "lm_head"), base="org/base"):
    generator = torch.Generator().manual_seed(sum(name.encode()))
    factors = {
        path: Factors(torch.randn(3, 10, generator=generator), torch.randn(8, 3, generator=generator))
        for path in paths
    }
    return Expert(name, base, factors)


@pytest.fixture
def library():
    return {name: draw(name) for name in "abc"}


@pytest.fixture
def read(tmp_path):
    def read(text):
        (tmp_path / "recipe.yml").write_text(text)
        return read_recipe(tmp_path / "recipe.yml")

    return read


def dense(expert, path):
    return expert.factors[path].b.double() @ expert.factors[path].a.double()


def check(library, recipe, expected, tolerance=1e-5):
    """Compare the merge in every module with ``expected(path, changes by name)``."""
    merged = merge_by_recipe(library, change_rank(recipe))
    for path in library["a"].factors:
        wanted = expected(path, {name: dense(expert, path) for name, expert in library.items()})
        torch.testing.assert_close(dense(merged, path), wanted, rtol=tolerance, atol=tolerance)
    return merged


def change_rank(recipe):
    return replace(recipe, rank="full")


def trim(d, density):
    count = max(1, int(density * d.numel()))
    return d * (d.abs() >= d.abs().flatten().sort(descending=True).values[count - 1])


def agree(changes, weights, normalize=True):
    weighted = torch.stack([w * d for w, d in zip(weights, changes, strict=True)])
    chosen = weighted.sign() == weighted.sum(0).sign()
    total = (weighted * chosen).sum(0)
    counted = torch.stack([w * one for w, one in zip(weights, chosen, strict=True)]).sum(0)
    return total / counted.where(counted != 0, 1.0) if normalize else total


MODELS = """
models:
  - {model: a, parameters: {weight: 0.5, density: 0.9, gamma: 0.05}}
  - {model: b, parameters: {weight: 0.3, density: 0.8, gamma: 0.1}}
base_model: org/base
"""


def test_ties_with_the_base_among_its_models(library, read):
    recipe = read(
        "models:\n- model: org/base\n- {model: a, parameters: {density: 0.5, weight: 0.5}}\n"
        "- {model: b, parameters: {density: 0.5, weight: 0.3}}\nmerge_method: ties\nbase_model: org/base\n"
        "parameters: {normalize: true, int8_mask: true}\ndtype: float32\n"
    )
    check(library, recipe, lambda path, d: agree([trim(d["a"], 0.5), trim(d["b"], 0.5)], [0.5, 0.3]))
    assert recipe.ignored == ("int8_mask: it only makes mergekit's masks smaller",)
    assert merge_by_recipe(library, recipe).card.parents == ("a", "b")


def test_linear_is_normalised_unless_it_says_otherwise(library, read):
    models = "models: [" + ", ".join(f"{{model: {n}, parameters: {{weight: 1}}}}" for n in "abc") + "]\n"
    recipe = read(models + "merge_method: linear\n")
    check(library, recipe, lambda path, d: (d["a"] + d["b"] + d["c"]) / 3)
    recipe = read(models + "merge_method: linear\nparameters: {normalize: false}\n")
    check(library, recipe, lambda path, d: d["a"] + d["b"] + d["c"])


def test_in_linear_the_base_counts_as_a_model_that_changes_nothing(library, read):
    recipe = read(
        "models:\n- {model: org/base, parameters: {weight: 2}}\n- {model: a, parameters: {weight: 1}}\n"
        "- {model: b, parameters: {weight: 1}}\nmerge_method: linear\n"
    )
    check(library, recipe, lambda path, d: (d["a"] + d["b"]) / 4)


def band(d, density, gamma):
    count = int(density * d.numel())
    dropped = min(int(gamma * d.numel()), d.numel() - count)
    order = d.abs().flatten().sort(descending=True).values
    return d * (d.abs() <= order[dropped]) * (d.abs() >= order[dropped + count - 1])


def test_breadcrumbs_by_both_of_its_names(library, read):
    def bands(d):
        return band(d["a"], 0.9, 0.05), band(d["b"], 0.8, 0.1)

    recipe = read(MODELS + "merge_method: breadcrumbs\n")
    check(library, recipe, lambda path, d: 0.5 * bands(d)[0] + 0.3 * bands(d)[1])
    recipe = read(MODELS + "merge_method: breadcrumbs_ties\n")
    check(library, recipe, lambda path, d: agree(bands(d), [0.5, 0.3], normalize=False))


@pytest.mark.parametrize(
    "method", ["ties", "dare_ties", "dare_linear", "della", "della_linear", "breadcrumbs"]
)
def test_without_densities_everything_is_kept(library, read, method):
    recipe = read(
        "models:\n- {model: a, parameters: {weight: 0.5}}\n- {model: b, parameters: {weight: 0.3}}\n"
        f"base_model: org/base\nmerge_method: {method}\n"
    )
    elects, averages = method in ("ties", "dare_ties", "della"), method in ("ties", "della")

    def expected(path, d):
        if elects:
            return agree([d["a"], d["b"]], [0.5, 0.3], averages)
        return 0.5 * d["a"] + 0.3 * d["b"]

    check(library, recipe, expected)


def test_della_takes_an_epsilon_for_each_model(library, read):
    recipe = read(
        "models:\n- {model: a, parameters: {weight: 1.0, density: 0.6, epsilon: 0.1}}\n"
        "- {model: b, parameters: {weight: 0.0, density: 0.6, epsilon: 0.39}}\n"
        "base_model: org/base\nmerge_method: della_linear\n"
    )
    assert recipe.models[1].parameters["epsilon"] == 0.39

    def kept(path, d):
        merged = dense(merge_by_recipe(library, change_rank(recipe)), path)
        mask = merged.abs() > 1e-4
        return d["a"] * mask * d["a"].abs().sum() / (d["a"] * mask).abs().sum()

    check(library, recipe, kept, tolerance=1e-3)


def test_keys_that_change_no_expert_are_listed_with_the_reason(library, read):
    recipe = read(
        "models:\n- {model: a, parameters: {weight: 0.6, density: 0.5}}\n"
        "- {model: b, parameters: {weight: 0.4, density: 0.5}}\nmerge_method: dare_linear\n"
        "base_model: org/base\ntokenizer_source: union\nchat_template: auto\nout_dtype: bfloat16\n"
        "name: mine\n"
    )
    assert len(recipe.ignored) == 4 and recipe.merge_method == "dare"
    for key in ("tokenizer_source: a merged expert", "chat_template", "out_dtype", "name"):
        assert any(sentence.startswith(key) for sentence in recipe.ignored)
    assert plan_merge(library, recipe).ignored == recipe.ignored
    assert merge_by_recipe(library, recipe).card.provenance["ignored"] == list(recipe.ignored)


def test_parameters_that_the_method_has_no_use_for_are_listed(read):
    recipe = read(
        "models: [{model: a, parameters: {weight: 1, t: 0.2}}, {model: b, parameters: {density: 0.5}}]\n"
        "merge_method: slerp\nparameters: {t: 0.3, epsilon: 0.1}\n"
    )
    assert recipe.parameters == {"t": 0.3} and not recipe.models[0].parameters
    assert set(recipe.ignored) == {
        "weight of 'a', density of 'b', epsilon: slerp has no use for it",
        "t of 'a': slerp takes it for all experts alike, from the recipe's parameters",
    }


def test_an_unknown_parameter_is_refused(read):
    with pytest.raises(ValueError, match="unknown option 'densty': did you mean 'density'"):
        read("models: [{model: a}]\nmerge_method: ties\nparameters: {densty: 0.3}\n")


def test_a_base_with_a_lora_is_an_expert(library, read):
    text = (
        "models:\n- {model: BASE+a, parameters: {weight: 0.5}}\n"
        "- {model: BASE@main+user/b@v1, parameters: {weight: 0.5}}\nmerge_method: linear\n"
    )
    check(library, read(text.replace("BASE", "org/base")), lambda path, d: (d["a"] + d["b"]) / 2)
    with pytest.raises(
        IncompatibleExpert, match="for base model 'org/other', its experts are for 'org/base'"
    ):
        merge_by_recipe(library, read(text.replace("BASE", "org/other")))


def test_a_hub_id_names_the_expert_of_its_last_part(library, read):
    recipe = read(
        "models: [{model: user/a}]\nmerge_method: slerp\nbase_model: user/b\nparameters: {t: 0.3}\n"
    )
    check(library, recipe, lambda path, d: slerp(d["b"], d["a"], 0.3))


def test_a_name_that_is_neither_expert_nor_base_is_unknown(library, read):
    with pytest.raises(UnknownExpert, match="no expert 'd'"):
        merge_by_recipe(library, read("models: [{model: a}, {model: d}]\nmerge_method: linear\n"))


def slerp(one, two, t):
    angle = ((one * two).sum() / (one.norm() * two.norm())).arccos()
    return (((1 - t) * angle).sin() * one + (t * angle).sin() * two) / angle.sin()


def test_slerp_goes_from_the_base_to_the_one_model(library, read):
    recipe = read("models: [{model: a}]\nmerge_method: slerp\nbase_model: b\nparameters: {t: 0.3}\n")
    check(library, recipe, lambda path, d: slerp(d["b"], d["a"], 0.3))
    recipe = read("models: [{model: a}]\nmerge_method: slerp\nbase_model: org/base\nparameters: {t: 0.3}\n")
    check(library, recipe, lambda path, d: 0.3 * d["a"])


def test_an_expert_as_base_is_what_changes_are_counted_from(library, read):
    recipe = read(
        "models:\n- {model: a, parameters: {weight: 1.0}}\n- {model: c, parameters: {weight: 0.5}}\n"
        "merge_method: task_arithmetic\nbase_model: b\n"
    )
    merged = check(library, recipe, lambda path, d: d["b"] + (d["a"] - d["b"]) + 0.5 * (d["c"] - d["b"]))
    assert merged.card.parents == ("a", "c", "b")
    ties = read(MODELS.replace("org/base", "c") + "merge_method: ties\n")
    check(
        library,
        ties,
        lambda path, d: d["c"] + agree([trim(d["a"] - d["c"], 0.9), trim(d["b"] - d["c"], 0.8)], [0.5, 0.3]),
    )


def test_model_stock_karcher_nuslerp_and_arcee_fusion_are_known(library, read):
    for method, models in {
        "model_stock": "abc",
        "karcher": "abc",
        "nuslerp": "ab",
        "arcee_fusion": "a",
    }.items():
        listed = ", ".join(f"{{model: {name}}}" for name in models)
        merged = merge_by_recipe(
            library, read(f"models: [{listed}]\nmerge_method: {method}\nbase_model: org/base\n")
        )
        assert merged.factors["lm_head"].b.any(), method


@pytest.mark.parametrize(
    ("method", "hint"),
    [("multislerp", "use 'karcher'"), ("nearswap", "use 'slerp'"), ("ram", "use 'ties'"), ("teis", "'ties'")],
)
def test_a_method_that_is_not_here_is_refused_with_the_nearest(read, method, hint):
    with pytest.raises(ValueError, match=hint):
        read(f"models: [{{model: a}}, {{model: b}}]\nmerge_method: {method}\n")


GRADIENT = """
models:
  - {model: a, parameters: {weight: [0, 1]}}
  - {model: b, parameters: {weight: [1, 0]}}
merge_method: linear
"""


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


SLICES = """
slices:
  - sources:
      - {model: a, layer_range: [0, 4]}
      - {model: b, layer_range: [0, 4]}
merge_method: slerp
base_model: a
parameters:
  t:
    - {filter: self_attn, value: [0, 0.5, 1]}
    - {filter: mlp, value: [1, 0.5, 0]}
    - {filter: embed_tokens, value: 0.1}
    - value: 0.5
"""


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
            "found block 1 where 3",
        ),
        ("[{model: a, layer_range: [1, 4]}]", "found block 1 where 0 is next"),
        ("[{model: a, layer_range: [0, 2]}, {model: b, layer_range: [2, 4]}]", "join blocks"),
    ],
)
def test_a_frankenmerge_is_refused_as_such(read, sources, message):
    with pytest.raises(ValueError, match="this is a frankenmerge") as caught:
        read(f"slices:\n- sources: {sources}\nmerge_method: passthrough\n")
    assert message in str(caught.value)


def test_slices_that_leave_blocks_out_are_refused(tmp_path, library, read):
    with pytest.raises(IncompatibleExpert, match="changes block 3, but the recipe's slices cover 2 blocks"):
        merge_by_recipe(library, read(SLICES.replace("[0, 4]", "[0, 2]")))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text('{"text_config": {"num_hidden_layers": 8}}')
    deep = {name: draw(name, PATHS, str(tmp_path / "base")) for name in "ab"}
    with pytest.raises(
        IncompatibleExpert, match=r"slices cover 4 blocks, base model .* has 8: cover all of them"
    ):
        merge_by_recipe(deep, read(SLICES))


TWO = """
name: first
models:
  - {model: a, parameters: {weight: 0.5}}
  - {model: b, parameters: {weight: 0.5}}
merge_method: linear
---
name: second
models:
  - {model: first, parameters: {weight: 0.5}}
  - {model: c, parameters: {weight: 0.5}}
merge_method: linear
"""


def test_each_document_is_a_merge_and_later_ones_may_use_earlier_ones(library, read, tmp_path):
    last = read(TWO)
    merged = check(library, last, lambda path, d: 0.25 * d["a"] + 0.25 * d["b"] + 0.5 * d["c"])
    assert merged.card.parents == ("first", "c")
    first, second = read_recipes(tmp_path / "recipe.yml")
    assert second == last and (first.name, second.name) == ("first", "second") and not first.ignored
    check(library, first, lambda path, d: (d["a"] + d["b"]) / 2)
    plan = plan_merge(library, last)
    assert plan.names == ("first", "c") and plan.seconds > 0


def test_a_merge_of_several_documents_is_repeated_from_its_card(library, read):
    first = merge_by_recipe(library, read(TWO))
    again = merge_by_recipe(library, parse_recipe(first.card.provenance["recipe"]))
    for path in first.factors:
        torch.testing.assert_close(dense(again, path), dense(first, path))


def test_documents_that_do_not_lead_to_one_merge_are_read_one_by_one(read, tmp_path):
    with pytest.raises(
        ValueError, match="holds 2 merges, and the last does not use first: read it with read_"
    ):
        read(TWO.replace("model: first", "model: b"))
    assert len(read_recipes(tmp_path / "recipe.yml")) == 2
    with pytest.raises(
        ValueError, match="document 2: every merge must have a name of its own, found 'first'"
    ):
        read(TWO.replace("name: second", "name: first"))


@pytest.mark.parametrize(
    "text",
    [
        SLICES,
        GRADIENT,
        MODELS + "merge_method: della\n",
        "models: [{model: org/base+a}, {model: b}]\nmerge_method: linear\n",
    ],
)
def test_what_was_read_can_be_written_down_and_read_again(read, text):
    recipe = read(text)
    assert parse_recipe(describe_recipe(recipe)) == recipe


def test_one_module_is_the_recipe_itself(library, read):
    recipe = read(
        "modules:\n  text_decoder:\n    models: [{model: a}, {model: b}]\n    parameters: {weight: 0.5}\n"
        "merge_method: linear\n"
    )
    check(library, recipe, lambda path, d: (d["a"] + d["b"]) / 2)
