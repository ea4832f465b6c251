import pytest

from lorary.errors import IncompatibleExpert
from lorary.transforms.merging import MergeRecipe, RecipeModel, RecipeSlice
from lorary.transforms.merging.methods.core import CoreConfig
from lorary.transforms.merging.methods.ties import TiesConfig
from lorary.transforms.merging.recipe.resolve import find_idle_filters, follows_depth, resolve_recipe

PATHS = ["model.layers.0.attn.q", "model.layers.0.mlp.up", "model.layers.2.attn.q"]


def make(method="ties", parameters=None, **models):
    named = tuple(RecipeModel(model=name, parameters=own) for name, own in models.items())
    return MergeRecipe(merge_method=method, models=named, parameters=parameters or {})


@pytest.mark.parametrize(
    ("method", "expected"), [("linear", 0.5), ("ties", 0.5), ("tsv", 1.0), ("core", 0.5)]
)
def test_weights_not_given_are_the_methods_own(method, expected):
    for settings in resolve_recipe(make(method, a={}, b={}), PATHS).values():
        assert settings.weights == (expected, expected) and settings.own == {}


def test_weights_and_options_follow_the_depth_and_the_filters():
    recipe = make(
        parameters={"scale": [1, 3], "density": [{"filter": "mlp", "value": 0.4}]},
        a={"weight": [0, 1]},
        b={"weight": [{"filter": "attn", "value": 2}, {"value": 3}]},
    )
    found = resolve_recipe(recipe, PATHS)
    assert [found[path].weights for path in PATHS] == [(0, 2), (0, 3), (1, 2)]
    assert [found[path].config for path in PATHS] == [
        TiesConfig(scale=1.0),
        TiesConfig(scale=1.0, density=0.4),
        TiesConfig(scale=3.0),
    ]


def test_one_weight_may_be_for_all_experts_without_their_own():
    found = resolve_recipe(make(parameters={"weight": 0.3}, a={}, b={"weight": 0.9}), PATHS)
    assert found[PATHS[0]].weights == (0.3, 0.9)


@pytest.mark.parametrize("method", ["ties", "core", "knots"])
def test_densities_are_the_experts_own_or_the_methods(method):
    recipe = make(method, parameters={"density": 0.6}, a={"density": [0.2, 0.4]}, b={})
    found = resolve_recipe(recipe, PATHS)
    assert found[PATHS[0]].own["density"] == (0.2, 0.6)
    assert found[PATHS[2]].own["density"] == (0.4, 0.6)


def test_core_takes_its_inner_methods_options_by_layer():
    recipe = make("core", parameters={"inner": "tsv", "scale": [1, 2]}, a={}, b={})
    config = resolve_recipe(recipe, PATHS)[PATHS[2]].config
    assert config == CoreConfig(inner="tsv", options={"scale": 2.0})


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (make(parameters={"density": [0.5, 1.5]}, a={}), r"density must be in \(0, 1\], found 1.5"),
        (make(a={"density": [0.5, 0]}), r"density must be in \(0, 1\], found 0.0"),
        (make("della", a={"density": 0.9}), "found density 0.9 and epsilon 0.15"),
        (
            make(a={"weight": [{"filter": "mlp", "value": 1}]}),
            "'a' must have a weight in module 'model.layers.0.attn.q'",
        ),
        (make(a={"weight": "much"}), "weight of expert 'a' must be a number, found 'much'"),
        (make(a={"weight": float("nan")}), "weight of expert 'a' must be a finite number, found nan"),
        (
            make("wudi", a={"weight": -1}),
            "weight of expert 'a' must be at least 0 for this method, found -1",
        ),
    ],
)
def test_what_is_wrong_in_a_layer_is_explained(recipe, message):
    with pytest.raises(ValueError, match=message):
        resolve_recipe(recipe, PATHS)


def test_faults_of_all_layers_are_named_once():
    recipe = make(parameters={"density": [{"filter": "ff", "value": 2}, {"value": [0.5, 3]}]}, a={})
    with pytest.raises(ValueError, match="density must be in") as caught:
        resolve_recipe(recipe, [*PATHS, "model.layers.2.mlp.up"])
    assert str(caught.value).count("found 3") == 1


def test_filters_that_fit_no_module_are_told():
    recipe = make(parameters={"scale": [{"filter": "embed_tokens", "value": 2}, {"value": 1}]}, a={}, b={})
    (sentence,) = find_idle_filters(recipe, PATHS)
    assert sentence.startswith("filter 'embed_tokens': it matches no module that the experts change")
    assert (
        find_idle_filters(make(parameters={"scale": [{"filter": "q.weight", "value": 2}]}, a={}), PATHS) == ()
    )


def test_filters_that_others_forestall_are_told():
    """Guards filters behind one that fits all of their modules, and filters of another slice's modules."""
    values = [{"filter": "layers", "value": 2}, {"filter": "mlp", "value": 3}, {"value": 1}]
    (sentence,) = find_idle_filters(make(parameters={"scale": values}, a={}), PATHS)
    assert sentence.startswith("filter 'mlp': earlier filters match the same modules")
    models = (RecipeModel(model="a"),)
    up = {"scale": [{"filter": "mlp.up", "value": 2}]}
    first, last = (
        tuple(
            RecipeSlice(begin=b, end=b + 2, models=models, parameters=up if b == own else {}) for b in (0, 2)
        )
        for own in (0, 2)
    )
    (sentence,) = find_idle_filters(MergeRecipe(merge_method="ties", models=models, slices=last), PATHS)
    assert sentence.startswith("filter 'mlp.up': ")
    assert find_idle_filters(MergeRecipe(merge_method="ties", models=models, slices=first), PATHS) == ()


def test_lists_of_values_are_known():
    assert follows_depth(make(parameters={"scale": [1, 2]}, a={}))
    assert follows_depth(make(a={"weight": [{"filter": "mlp", "value": [0, 1]}, {"value": 1}]}))
    assert not follows_depth(make(parameters={"scale": 2}, a={"weight": [{"value": 1}]}))


def test_slices_have_settings_and_depths_of_their_own():
    paths = [f"model.layers.{block}.q" for block in range(4)] + ["model.embed_tokens", "lm_head"]
    models = (RecipeModel(model="a", parameters={"weight": [0, 1]}), RecipeModel(model="b"))
    recipe = MergeRecipe(
        merge_method="ties",
        models=(RecipeModel(model="a"), RecipeModel(model="b")),
        parameters={"weight": 5, "scale": 7},
        slices=(
            RecipeSlice(begin=0, end=1, models=models[:1], parameters={"scale": 2}),
            RecipeSlice(begin=1, end=4, models=models, parameters={"weight": 3}),
        ),
    )
    found = resolve_recipe(recipe, paths)
    expected = [(1, 0), (0, 3), (0.5, 3), (1, 3), (0, 0), (1, 3)]
    assert [found[path].weights for path in paths] == expected
    assert [found[path].config.scale for path in paths] == [2, 7, 7, 7, 2, 7]


def test_a_block_that_the_model_does_not_have_is_refused():
    with pytest.raises(
        IncompatibleExpert, match=r"the base model has 2 blocks \(0 to 1\) and an expert changes block 2"
    ):
        resolve_recipe(make(a={}), PATHS, num_blocks=2)
