import pytest
import yaml

from lorary.transforms.merging import MergeRecipe, RecipeModel, describe_recipe, parse_recipe, read_recipe

TEXT = """
merge_method: ties
base_model: tiny
models:
  - model: poetry
    parameters:
      weight: 0.5
      density: [0.2, 0.5, 0.8]
  - model: sql
    parameters:
      weight:
        - filter: mlp
          value: [0, 1]
        - value: 0.5
parameters:
  normalize: true
  lambda: 1.5
dtype: bfloat16
rank: 99%
"""


def test_a_recipe_in_mergekits_dialect_is_understood(tmp_path):
    (tmp_path / "merge.yaml").write_text(TEXT)
    assert read_recipe(tmp_path / "merge.yaml") == MergeRecipe(
        merge_method="ties",
        base_model="tiny",
        models=(
            RecipeModel(model="poetry", parameters={"weight": 0.5, "density": [0.2, 0.5, 0.8]}),
            RecipeModel(
                model="sql", parameters={"weight": [{"filter": "mlp", "value": [0, 1]}, {"value": 0.5}]}
            ),
        ),
        parameters={"normalize": True, "scale": 1.5},
        dtype="bfloat16",
        rank="99%",
    )


def test_other_names_of_options_are_known():
    content = {
        "merge_method": "sce",
        "models": [{"model": "a"}, {"model": "b"}],
        "parameters": {"select_topk": 0.2},
    }
    assert parse_recipe(content).parameters == {"density": 0.2}


def test_a_recipe_written_down_is_the_same_recipe():
    recipe = parse_recipe(yaml.safe_load(TEXT))
    assert parse_recipe(describe_recipe(recipe)) == recipe
    small = MergeRecipe(merge_method="linear", models=(RecipeModel(model="a"),))
    assert describe_recipe(small) == {"merge_method": "linear", "models": [{"model": "a"}]}
    assert parse_recipe(yaml.safe_load(yaml.safe_dump(describe_recipe(small)))) == small


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"a recipe must map keys such as 'merge_method' to values, found \[\]"),
        ({}, "merge_method must be a method's name, found None; models must be a list"),
        ({"merge_method": "ties", "models": []}, "models must be a list of {model, parameters}, found"),
        ({"merge_method": "ties", "models": ["a"]}, "must be {model: name, parameters: ...}, found 'a'"),
        (
            {"merge_method": "ties", "models": [{"name": "a"}]},
            "must be {model: name, parameters: ...}, found",
        ),
        (
            {"merge_method": "ties", "models": [{"model": "a", "parameters": 3}]},
            "the parameters of 'a' must map names to values, found 3",
        ),
        (
            {"merge_method": "ties", "models": [{"model": "a"}], "parameters": [1]},
            "parameters must map names",
        ),
        ({"merge_method": "ties", "models": [{"model": "a"}], "dtype": 16}, "dtype must be a name, found 16"),
        (
            {"merge_method": "ties", "models": [{"model": "a"}], "slices": []},
            "'slices' is for merging whole models",
        ),
    ],
)
def test_what_is_no_recipe_is_explained(content, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe(content)


def test_all_faults_are_named_at_once_with_the_file(tmp_path):
    (tmp_path / "merge.yaml").write_text(
        "merge_methd: ties\nmerge_method: tiess\nmodels: [{model: a}]\ntokenizer_source: base\nrank: 0\n"
    )
    with pytest.raises(ValueError, match=r"merge.yaml") as caught:
        read_recipe(tmp_path / "merge.yaml")
    for part in (
        "unknown key 'merge_methd': did you mean 'merge_method'",
        "'tokenizer_source' is for merging whole models",
        "no merging method is named 'tiess'",
        "rank must be",
    ):
        assert part in str(caught.value)


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    (tmp_path / "merge.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"recipe '.*merge.yaml' is not a YAML file"):
        read_recipe(tmp_path / "merge.yaml")
    with pytest.raises(OSError, match="No such file"):
        read_recipe(tmp_path / "none.yaml")
