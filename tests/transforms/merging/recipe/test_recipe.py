import pytest

from lorary.transforms.merging import MergeRecipe, RecipeModel


def models(*names, **parameters):
    return tuple(RecipeModel(model=name, parameters=parameters) for name in names)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("linear", {"models": models("a", "b", weight=0.5)}),
        ("ties", {"models": models("a", "b", weight=[0, 1], density=0.5), "parameters": {"scale": 2}}),
        ("ties", {"models": models("a", "b"), "parameters": {"weight": 0.3}, "space": "core"}),
        ("core", {"models": models("a", "b", density=0.4), "parameters": {"inner": "della"}}),
        ("slerp", {"models": models("a", "b"), "parameters": {"t": [0, 0.5, 1]}, "rank": "99%"}),
    ],
)
def test_sound_recipes_pass(method, settings):
    assert MergeRecipe(merge_method=method, **settings).names == ("a", "b")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"merge_method": "teis"}, "merge_method must be a known method, found 'teis': did you mean 'ties'"),
        ({"models": ()}, "at least one expert is needed to merge, found none"),
        ({"models": models("a", "b", "a")}, "experts must have different names, found more than once: 'a'"),
        ({"dtype": "int8"}, "dtype must be one of float16, bfloat16, float32, float64, found 'int8'"),
        ({"layers": "some"}, "layers must be 'same', 'common' or 'all', found 'some'"),
        ({"rank": -1}, "rank must be a whole number of at least 1"),
        ({"space": "tasks"}, "space of 'ties' must be 'delta' or 'core' or 'factors', found 'tasks'"),
        ({"parameters": {"densty": 0.2}}, "unknown option 'densty': did you mean 'density'"),
        ({"parameters": {"density": []}}, "density must be a value, a list of numbers"),
        ({"models": models("a", gamma=0.1)}, "can have weight and density parameters, found 'gamma' of 'a'"),
        ({"num_blocks": 0}, "num_blocks must be a whole number from 1 to 100,000, found 0"),
        ({"models": models("a", weight=None)}, "weight of 'a' must be a value, a list"),
        (
            {"models": (*models("a", weight=1.0), *models("b"))},
            "all experts must have a weight, or none, found none of 'b'",
        ),
        ({"merge_method": "slerp", "models": models("a")}, "'slerp' needs exactly 2 experts, found 1"),
        ({"merge_method": "sce", "models": models("a")}, "'sce' needs at least 2 experts, found 1"),
        (
            {"merge_method": "slerp", "models": models("a", "b", weight=1.0)},
            "merged by 'slerp' can have no parameters, found 'weight' of 'a'",
        ),
        (
            {"merge_method": "slerp", "models": models("a", "b"), "parameters": {"weight": 1.0}},
            "'slerp' has no weights",
        ),
        (
            {"merge_method": "core", "parameters": {"inner": "slerp"}},
            "'core' needs exactly 2 experts, found 1",
        ),
    ],
)
def test_what_is_wrong_is_explained(settings, message):
    with pytest.raises(ValueError, match=r".+") as caught:
        MergeRecipe(**{"merge_method": "ties", "models": models("a"), **settings})
    assert message in str(caught.value)


def test_all_faults_are_named_at_once():
    with pytest.raises(ValueError, match="dtype") as caught:
        MergeRecipe(
            merge_method="ties",
            models=models("a", "a"),
            parameters={"densty": 0.2, "scale": "big"},
            dtype="int8",
            rank=0,
            space="tasks",
            layers="some",
        )
    assert str(caught.value).count(";") == 6
