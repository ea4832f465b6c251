import pytest
import torch

from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.transforms.merging import MergeRecipe, RecipeModel, make_recipe
from lorary.transforms.merging.job import compute_most_rank, prepare_merge


def test_everything_is_worked_out(experts):
    job = prepare_merge(
        experts, make_recipe(experts, "core", rank=2, dtype=torch.float16, options={"inner": "tsv"})
    )
    assert job.space == "core" and job.rank.rank == 2 and job.dtype == torch.float16
    assert job.rules.default_weight == "one" and set(job.settings) == {
        layer.path for layer in job.survey.layers
    }


@pytest.mark.parametrize(
    ("method", "space", "most"),
    [
        ("linear", None, 8),
        ("ties", None, 12),
        ("ties", "core", 8),
        ("ties", "factors", 4),
        ("linear", "factors", 4),
    ],
)
def test_the_highest_rank_is_known(experts, method, space, most):
    job = prepare_merge(experts, make_recipe(experts, method, space=space))
    assert compute_most_rank(job, job.survey.layers[0]) == most
    prepare_merge(experts, make_recipe(experts, method, space=space, rank=most))
    with pytest.raises(
        ValueError, match=f"rank must be at most {most}, .* merged by '{method}', found {most + 1}"
    ):
        prepare_merge(experts, make_recipe(experts, method, space=space, rank=most + 1))


def test_subtracting_keeps_the_full_rank_unless_told(experts):
    assert prepare_merge(experts, make_recipe(experts, "subtract")).rank.kind == "full"
    assert prepare_merge(experts, make_recipe(experts, "subtract", rank="kept")).rank.kind == "kept"


def test_unknown_experts_and_other_bases_are_refused(experts):
    models = (RecipeModel(model="poerty"),)
    with pytest.raises(UnknownExpert, match="the library has no expert 'poerty': did you mean 'poetry'"):
        prepare_merge(experts, MergeRecipe(merge_method="ties", models=models))
    models = (RecipeModel(model="poetry"),)
    with pytest.raises(IncompatibleExpert, match="the experts' base model 'tiny', found 'big'"):
        prepare_merge(experts, MergeRecipe(merge_method="ties", models=models, base_model="big"))
