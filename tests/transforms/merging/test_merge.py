import pytest
import torch

import lorary
from lorary.errors import FormatError, UnknownExpert
from lorary.experts import Expert, read_peft, write_peft
from lorary.library import Library
from lorary.transforms.merging import MERGES, make_recipe, merge, merge_by_recipe, parse_recipe


def test_every_layer_is_the_best_cut_of_the_dense_sum(experts, module_delta):
    merged = merge(experts, "linear", weights=[1, 2, -1], rank=3)
    for path in merged.factors:
        d = sum(
            w * module_delta(expert, path) for w, expert in zip((1, 2, -1), experts.values(), strict=True)
        )
        u, s, vh = torch.linalg.svd(d)
        best = (u[:, :3] * s[:3]) @ vh[:3]
        torch.testing.assert_close(module_delta(merged, path), best, rtol=1e-5, atol=1e-5)
        error = merged.card.provenance["truncation_error"][path]
        assert error == pytest.approx((s[3:].norm() / s.norm()).item(), rel=1e-4)


def test_cat_is_exact_and_factors_apart_are_not(experts, module_delta):
    path = "model.layers.0.mlp.up"
    exact = sum(module_delta(expert, path) for expert in experts.values()) / 3
    torch.testing.assert_close(module_delta(merge(experts, "cat"), path), exact, rtol=1e-5, atol=1e-5)
    apart = module_delta(merge(experts, "linear", space="factors"), path)
    assert (apart - exact).norm() > 0.3 * exact.norm()


def test_the_public_name_is_this_function(experts):
    assert lorary.merge is merge
    assert isinstance(lorary.merge(experts), Expert)


def test_sums_equal_those_that_peft_makes_of_whole_weight_changes(tmp_path, module_delta):
    from peft import LoraConfig, get_peft_model
    from torch import nn

    names, weights = ["one", "two"], [0.7, 0.4]
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["0", "1"], init_lora_weights=False)
    torch.manual_seed(0)
    model = get_peft_model(nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 8)), config, adapter_name="one")
    model.add_adapter("two", config)
    model.add_weighted_adapter(names, weights, "cat", combination_type="cat")
    model.add_weighted_adapter(names, weights, "svd", combination_type="svd", svd_rank=2)
    model.save_pretrained(str(tmp_path))
    made = {name: read_peft(tmp_path / name, name) for name in ("one", "two", "cat", "svd")}
    found = {
        "cat": merge(made, "cat", names=names, weights=weights),
        "svd": merge(made, "linear", names=names, weights=weights, rank=2),
    }
    for name, merged in found.items():
        for path in merged.factors:
            expected = module_delta(made[name], path)
            torch.testing.assert_close(module_delta(merged, path), expected, rtol=1e-4, atol=1e-5)


def test_an_energy_gives_every_layer_its_own_rank(experts):
    merged = merge(experts, "linear", rank="90%")
    errors = merged.card.provenance["truncation_error"].values()
    assert all(error <= 0.1**0.5 for error in errors)
    assert all(1 <= rank <= 8 for rank in merged.ranks.values())


def test_the_largest_rank_of_the_experts_is_kept(experts):
    assert set(merge(experts, "ties").ranks.values()) == {4}
    assert set(merge(experts, "ties", names=["sql", "poetry"]).ranks.values()) == {3}


def test_one_expert_alone_returns_with_its_own_numbers(experts):
    merged = merge(experts, "linear", names=["chess"])
    for path, pair in experts["chess"].factors.items():
        assert torch.equal(merged.factors[path].a, pair.a) and torch.equal(merged.factors[path].b, pair.b)


def test_a_merge_is_repeated_from_its_card(experts, tmp_path):
    first = merge(experts, "dare_ties", weights=[1, 2, 3], density=0.6, seed=5, rank=2)
    write_peft(first, tmp_path / "merged")
    recipe = parse_recipe(read_peft(tmp_path / "merged").card.provenance["recipe"])
    second = merge_by_recipe(experts, recipe)
    assert all(torch.equal(first.factors[path].b, second.factors[path].b) for path in first.factors)


@pytest.mark.parametrize("method", ["linear", "ties", "tsv"])
def test_a_library_is_merged_like_the_experts_in_it(experts, tmp_path, method):
    library = Library.open(tmp_path / "lib", create=True)
    for expert in experts.values():
        library.add(expert)
    names = list(experts)
    stored, held = merge(library, method, names=names), merge(experts, method, names=names)
    for path in held.factors:
        assert torch.equal(stored.factors[path].b, held.factors[path].b)
    library.add(merge(library, method, name="all"))
    assert library["all"].card.parents == ("chess", "poetry", "sql")


def test_the_recipe_of_each_layer_is_followed(experts, module_delta):
    recipe = parse_recipe(
        {
            "merge_method": "linear",
            "models": [
                {"model": "poetry", "parameters": {"weight": [0, 1]}},
                {"model": "sql", "parameters": {"weight": [{"filter": "mlp", "value": 2}, {"value": 3}]}},
            ],
            "rank": "full",
        }
    )
    merged = merge_by_recipe(experts, recipe)
    for path, weights in {
        "model.layers.0.attn.q": (0, 3),
        "model.layers.0.mlp.up": (0, 2),
        "model.layers.1.attn.q": (1, 3),
        "model.layers.1.mlp.down": (1, 2),
    }.items():
        expected = sum(
            w * module_delta(experts[name], path) for w, name in zip(weights, ("poetry", "sql"), strict=True)
        )
        torch.testing.assert_close(module_delta(merged, path), expected, rtol=1e-5, atol=1e-5)


def test_missing_layers_count_as_zero_if_asked_for(experts, make_expert, module_delta):
    experts = {
        "poetry": experts["poetry"],
        "few": make_expert("few", modules={"model.layers.0.attn.q": (12, 12)}),
    }
    merged = merge(experts, "linear", weights=[1, 1], layers="all", rank="full")
    path = "model.layers.0.mlp.up"
    torch.testing.assert_close(module_delta(merged, path), module_delta(experts["poetry"], path))
    assert list(merge(experts, layers="common").factors) == ["model.layers.0.attn.q"]


def test_another_dtype_can_be_asked_for(experts):
    assert merge(experts, "ties", dtype=torch.bfloat16).dtypes == (torch.bfloat16,)


def test_regmean_takes_inputs_and_no_other_method_does(experts, module_delta):
    inputs = {path: [torch.randn(40, pair.a.shape[1])] * 3 for path, pair in experts["sql"].factors.items()}
    merged = merge(experts, "regmean", activations=inputs, rank="full")
    path = "model.layers.0.mlp.up"
    # Where all saw the same, it is the mean.
    mean = sum(module_delta(expert, path) for expert in experts.values()) / 3
    torch.testing.assert_close(module_delta(merged, path), mean, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="grams and activations must be None for method 'ties'"):
        merge(experts, "ties", activations=inputs)
    with pytest.raises(ValueError, match=r"pass lorary.merge either grams"):
        merge(experts, "regmean")


def test_progress_counts_the_layers(experts):
    calls = []
    merge(experts, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    "method",
    sorted(name for name, kind in MERGES.items() if not kind.needs_inputs and kind.max_experts is None),
)
def test_gradients_are_not_followed(experts, method):
    for pair in experts["sql"].factors.values():
        pair.b.requires_grad_()
    merged = merge(experts, method)
    assert not any(factor.requires_grad for pair in merged.factors.values() for factor in pair)


def test_names_and_options_that_are_wrong_are_refused_before_anything_is_merged(experts):
    with pytest.raises(UnknownExpert, match="no expert 'chss': did you mean 'chess'"):
        merge(experts, names=["chss"])
    with pytest.raises(ValueError, match="unknown option 'densty': did you mean 'density'"):
        merge(experts, densty=0.2)
    with pytest.raises(ValueError, match="an expert's name must not begin with '_'"):
        merge(experts, name="_x")


def test_numbers_too_large_for_the_dtype_are_refused(experts):
    message = r"module 'model.layers.0.attn.q' must be finite, found others in torch.float16 .*: use a wider"
    with pytest.raises(ValueError, match=message):
        merge(experts, "task_arithmetic", scale=1e12, dtype=torch.float16)


@pytest.mark.parametrize("method", ["ties", "wudi", "knots", "core"])
def test_an_expert_with_values_near_the_largest_number_is_named(experts, method):
    """Guards errors of the card's JSON, and of a decomposition, that named neither expert nor module."""
    pair = experts["sql"].factors["model.layers.1.attn.q"]
    pair.a.mul_(3e38 / pair.a.abs().max())
    message = r"module 'model.layers.1.attn.q' must be finite, .* those of expert 'sql', up to 3e\+38\)"
    with pytest.raises(ValueError, match=message):
        merge(experts, method)


def test_large_values_that_can_be_merged_are_merged(experts):
    for pair in experts["sql"].factors.values():
        pair.a.mul_(1e25)
    errors = merge(experts, "ties").card.provenance["truncation_error"].values()
    assert all(0 <= error < 1 for error in errors)


def test_weights_that_are_not_finite_are_refused(experts):
    pair = experts["sql"].factors["model.layers.0.attn.q"]
    pair.a[0, 0] = torch.nan
    with pytest.raises(FormatError, match="expert 'sql' has NaN or infinite values in a of module"):
        merge(experts)


def test_a_recipe_is_made_of_what_was_asked_for(experts):
    recipe = make_recipe(experts, "ties", options={"density": 0.3})
    assert parse_recipe(merge(experts, "ties", density=0.3).card.provenance["recipe"]) == recipe
