import pytest
import torch

from lorary.transforms.merging import MergeRecipe, RecipeModel, make_recipe
from lorary.transforms.merging.recipe.arguments import collect_experts


def test_arguments_become_a_recipe(experts):
    recipe = make_recipe(["sql", "poetry"], "dare", weights=[1, 2], dtype=torch.bfloat16, options={"seed": 3})
    assert recipe == MergeRecipe(
        merge_method="dare",
        models=(
            RecipeModel(model="sql", parameters={"weight": 1}),
            RecipeModel(model="poetry", parameters={"weight": 2}),
        ),
        parameters={"seed": 3},
        dtype="bfloat16",
    )


def test_all_experts_are_taken_in_the_mappings_order(experts):
    assert make_recipe(experts).names == ("poetry", "sql", "chess")


def test_weights_may_be_given_by_name(experts):
    by_name = make_recipe(experts, weights={"chess": 3, "sql": 2, "poetry": 1})
    assert by_name == make_recipe(experts, weights=[1, 2, 3])


def test_experts_may_come_by_themselves(experts):
    assert collect_experts(experts) is experts
    assert collect_experts(iter(experts.values())) == experts
    with pytest.raises(ValueError, match="experts must have different names, found 'sql', 'sql'"):
        collect_experts([experts["sql"], experts["sql"]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": [1, 2]}, "weights must be one number per expert, found 2 for 3"),
        (
            {"weights": {"sql": 1, "chss": 2}},
            r"there is no expert 'chss': did you mean 'chess'\?; each expert must have one, found none for "
            "'poetry', 'chess'",
        ),
        ({"weights": [1], "rank": 0}, "found 1 for 3; rank must be"),
    ],
)
def test_what_is_wrong_is_explained(experts, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_recipe(experts, **arguments)


def test_no_experts_are_refused():
    with pytest.raises(ValueError, match="at least one expert is needed to merge, found none"):
        make_recipe([])
