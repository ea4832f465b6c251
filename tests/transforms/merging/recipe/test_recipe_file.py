import time

import pytest
import yaml

from lorary.errors import FormatError
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
        parameters={"normalize": True, "scale": 1.5, "density": 1.0},
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
        ({}, "merge_method must be the name of a method, found None; models must be a list"),
        ({"merge_method": "ties", "models": []}, "models must be a list of {model, parameters}, found"),
        ({"merge_method": "ties", "models": ["a"]}, "must be {model: name, parameters: ...}, found 'a'"),
        (
            {"merge_method": "ties", "models": [{"name": "a"}]},
            "must be {model: name, parameters: ...}, found",
        ),
        (
            {"merge_method": "ties", "models": [{"model": "a", "parameters": 3}]},
            "parameters of 'a' must map names to values, found 3",
        ),
        (
            {"merge_method": "ties", "models": [{"model": "a"}], "parameters": [1]},
            "parameters must map names",
        ),
        ({"merge_method": "ties", "models": [{"model": "a"}], "dtype": 16}, "dtype must be a name, found 16"),
        (
            {"merge_method": "ties", "models": [{"model": "a"}], "slices": []},
            "models or slices, found both; slices must be a list of {sources, parameters}, found",
        ),
    ],
)
def test_what_is_no_recipe_is_explained(content, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe(content)


def test_all_faults_are_named_at_once_with_the_file(tmp_path):
    (tmp_path / "merge.yaml").write_text(
        "merge_methd: ties\nmerge_method: tiess\nmodels: [{model: a}]\ngate_mode: hidden\nrank: 0\n"
    )
    with pytest.raises(ValueError, match=r"merge.yaml") as caught:
        read_recipe(tmp_path / "merge.yaml")
    for part in (
        "unknown key 'merge_methd': did you mean 'merge_method'",
        "key 'gate_mode': recipes of mergekit-moe are not supported",
        "merge_method must be a known method, found 'tiess'",
        "rank must be",
    ):
        assert part in str(caught.value)


def test_a_file_that_is_no_yaml_is_refused(tmp_path):
    (tmp_path / "merge.yaml").write_text("a: [")
    with pytest.raises(FormatError, match=r"'.*merge.yaml' is not a YAML file"):
        read_recipe(tmp_path / "merge.yaml")
    with pytest.raises(OSError, match="No such file"):
        read_recipe(tmp_path / "none.yaml")


def write(models="[{model: a}, {model: b}]", method="ties", **keys):
    lines = [f"merge_method: {method}", f"models: {models}"]
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in keys.items())])


HOSTILE = {
    "aliases": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{k}: &{k} [{', '.join(['*' + p] * 9)}]\n" for p, k in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "an object": "!!python/object/apply:os.system ['true']",
    "deep nesting": "[" * 10_000,
    "a number as method": write(method=3),
    "a list as method": write(method="[ties]"),
    "a huge method": write(method="x" * 10**6),
    "models that are a mapping": write("{model: a}"),
    "a model of a mapping": write("[{model: {a: b}}]"),
    "a path as model": write("[{model: ../../etc}, {model: b}]"),
    "an absolute path as model": write("[{model: /etc/passwd}, {model: b}]"),
    "a name of escapes": write(r'[{model: "\x1b[2J"}, {model: b}]'),
    "half a surrogate pair": write(r'[{model: "\ud800"}, {model: b}]'),
    "a device as model": write("[{model: con}, {model: b}]"),
    "thousands of models of one name": write("[" + "{model: a}, " * 5_000 + "{model: b}]"),
    "thousands of models": write("[" + ", ".join(f"{{model: a{n}, x: 1}}" for n in range(5_000)) + "]"),
    "thousands of unknown keys": write(**{f"key{number}": 1 for number in range(5_000)}),
    "thousands of unknown options": write(parameters="{" + ", ".join(f"o{n}: 1" for n in range(5_000)) + "}"),
    "parameters that are a list": write(parameters="[1]"),
    "a parameter whose name is a number": write(parameters="{1: 2}"),
    "a truth value as density": write(parameters="{density: true}"),
    "a density that is no number": write(parameters="{density: .nan}"),
    "a huge density": write(parameters=f"{{density: {'9' * 39}}}"),
    "a density of a million digits": write(parameters=f"{{density: {'9' * 10**6}}}"),
    "an infinite scale": write(parameters="{scale: .inf}"),
    "a gradient of infinities": write(parameters="{density: [.inf, 1]}"),
    "a gradient of a hundred thousand": write(parameters=f"{{density: [{', '.join(['0.5'] * 10**5)}]}}"),
    "gradients within gradients": write(parameters="{density: [[0.5, 1], [1]]}"),
    "filters by the thousand": write(
        parameters=f"{{density: [{', '.join(['{filter: mlp, value: 0.5}'] * 10**4)}]}}"
    ),
    "a filter that is a list": write(parameters="{density: [{filter: [a], value: 1}]}"),
    "a value without end": write(parameters="{density: [{filter: a, value: [{filter: b, value: 1}]}]}"),
    "a rank below zero": write(rank=-1),
    "a huge rank": write(rank="9" * 10**5),
    "a rank as text of a million digits": write(rank="'" + "9" * 10**6 + "'"),
    "a rank that is a list": write(rank="[1, 2]"),
    "a rank that is true": write(rank="true"),
    "a rank beyond all": write(rank="1e400%"),
    "a dtype that is a list": write(dtype="[float32]"),
    "a dtype that is an attribute": write(dtype="__class__"),
    "a base model that is a number": write(base_model=3),
    "a space that is a mapping": write(space="{a: b}"),
    "layers that are a list": write(layers="[same]"),
    "too many steps": write(method="wudi", parameters="{num_steps: 1000000000000}"),
    "too many vectors": write(method="tsv", parameters="{num_vectors: 1000000000000000000000}"),
    "options of options": write(method="core", parameters="{inner: core}"),
    "options that are a list": write(method="core", parameters="{options: [1]}"),
    "a date that is none": write(rank="2020-13-40"),
    "nothing": "",
    "bytes": "\x00\x01",
    "two documents": "a: 1\n---\nb: 2\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_recipe_is_refused_soon_and_shortly(tmp_path, text):
    path = tmp_path / "merge.yaml"
    path.write_text(text)
    begun = time.thread_time()
    with pytest.raises((FormatError, ValueError)) as caught:
        read_recipe(path)
    assert time.thread_time() - begun < 5
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 2500 and str(caught.value).isprintable()


def test_what_is_no_regular_file_is_no_recipe(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path in ("/dev/zero", tmp_path, tmp_path / "loop"):
        with pytest.raises(FormatError, match="must be a regular file"):
            read_recipe(path)
