"""Methods in recipes of mergekit, each compared with the dense merge that mergekit makes of it."""

import pytest
import torch

from lorary.transforms.merging import merge_by_recipe
from tests.transforms.merging.recipe.people import MODELS, check, dense, keep_full_rank, slerp


def trim(d, density):
    count = max(1, int(density * d.numel()))
    return d * (d.abs() >= d.abs().flatten().sort(descending=True).values[count - 1])


def agree(changes, weights, normalize=True):
    weighted = torch.stack([w * d for w, d in zip(weights, changes, strict=True)])
    chosen = weighted.sign() == weighted.sum(0).sign()
    total = (weighted * chosen).sum(0)
    counted = torch.stack([w * one for w, one in zip(weights, chosen, strict=True)]).sum(0)
    return total / counted.where(counted != 0, 1.0) if normalize else total


def test_ties_with_the_base_among_its_models(library, read):
    recipe = read(
        "models:\n- model: org/base\n- {model: a, parameters: {density: 0.5, weight: 0.5}}\n"
        "- {model: b, parameters: {density: 0.5, weight: 0.3}}\nmerge_method: ties\nbase_model: org/base\n"
        "parameters: {normalize: true, int8_mask: true}\ndtype: float32\n"
    )
    check(library, recipe, lambda path, d: agree([trim(d["a"], 0.5), trim(d["b"], 0.5)], [0.5, 0.3]))
    assert recipe.ignored == ("int8_mask: it only reduces the size of mergekit's masks",)
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
        merged = dense(merge_by_recipe(library, keep_full_rank(recipe)), path)
        mask = merged.abs() > 1e-4
        return d["a"] * mask * d["a"].abs().sum() / (d["a"] * mask).abs().sum()

    check(library, recipe, kept, tolerance=1e-3)


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
