import pytest

from lorary.transforms.merging import MergeRecipe, RecipeModel
from lorary.transforms.merging.methods.core import CoreConfig
from lorary.transforms.merging.methods.ties import TiesConfig
from lorary.transforms.merging.recipe.resolve import resolve_recipe

PATHS = ["model.layers.0.attn.q", "model.layers.0.mlp.up", "model.layers.2.attn.q"]


def make(method="ties", parameters=None, **models):
    named = tuple(RecipeModel(model=name, parameters=own) for name, own in models.items())
    return MergeRecipe(merge_method=method, models=named, parameters=parameters or {})


@pytest.mark.parametrize(
    ("method", "expected"), [("linear", 0.5), ("ties", 0.5), ("tsv", 1.0), ("core", 0.5)]
)
def test_weights_not_given_are_the_methods_own(method, expected):
    for settings in resolve_recipe(make(method, a={}, b={}), PATHS).values():
        assert settings.weights == (expected, expected) and settings.densities is None


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
    assert found[PATHS[0]].densities == (0.2, 0.6) and found[PATHS[2]].densities == (0.4, 0.6)


def test_core_takes_its_inner_methods_options_by_layer():
    recipe = make("core", parameters={"inner": "tsv", "scale": [1, 2]}, a={}, b={})
    config = resolve_recipe(recipe, PATHS)[PATHS[2]].config
    assert config == CoreConfig(inner="tsv", options={"scale": 2.0})


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (make(parameters={"density": [0.5, 1.5]}, a={}), r"density must lie in \(0, 1\], found 1.5"),
        (make(a={"density": [0.5, 0]}), r"density must lie in \(0, 1\], found 0.0"),
        (make("della", a={"density": 0.9}), "found density 0.9 and epsilon 0.15"),
        (
            make(a={"weight": [{"filter": "mlp", "value": 1}]}),
            "'a' has no weight in module 'model.layers.0.attn.q'",
        ),
        (make(a={"weight": "much"}), "a weight must be a number, found 'much' of expert 'a'"),
        (make(a={"weight": float("nan")}), "the weight of expert 'a' must be a finite number, found nan"),
        (
            make("wudi", a={"weight": -1}),
            "this method's weights must not be negative, found -1 of expert 'a'",
        ),
        (make(a={"weight": [{"filter": "mpl", "value": 1}, {"value": 2}]}), "'mpl' is of none, such as"),
    ],
)
def test_what_is_wrong_in_a_layer_is_explained(recipe, message):
    with pytest.raises(ValueError, match=message):
        resolve_recipe(recipe, PATHS)


def test_faults_of_all_layers_are_named_once():
    recipe = make(parameters={"density": [{"filter": "ff", "value": 2}, {"value": [0.5, 3]}]}, a={})
    with pytest.raises(ValueError, match="is of none") as caught:
        resolve_recipe(recipe, [*PATHS, "model.layers.2.mlp.up"])
    assert str(caught.value).count("found 3") == 1
