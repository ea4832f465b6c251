"""Recipe files of lorary merge."""

import json

from lorary.experts import read_peft
from lorary.transforms import merge


def test_a_recipe_file_is_followed_and_stored(lorary, library, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "merge_method: dare_ties\nmodels:\n- model: poetry\n  parameters: {weight: 1}\n- model: sql\n"
        "  parameters: {weight: [0.5, 1]}\nparameters: {density: 0.7, seed: 3}\nrank: 1\n"
    )
    assert lorary("merge", library.url, "--recipe", str(recipe), "--out", "followed")[0] == 0
    found = library["followed"]
    assert found.max_rank == 1
    # What the file leaves out has mergekit's defaults, and the card says so.
    defaults = {"normalize": False, "rescale_to": "norm"}
    assert found.card.provenance["recipe"]["parameters"] == {"density": 0.7, "seed": 3, **defaults}
    assert found.card.provenance["recipe"]["models"][1]["parameters"] == {"weight": [0.5, 1]}


def test_each_document_of_a_recipe_is_a_merge_and_what_is_ignored_is_told(
    lorary, library, same_weights, tmp_path
):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: first\nmodels: [{model: poetry}, {model: sql}]\nmerge_method: linear\n---\n"
        "models: [{model: first}, {model: card games}]\nmerge_method: linear\ntokenizer_source: base\n"
    )
    code, output, _ = lorary("merge", library.url, "--recipe", str(recipe), "--out", "last")
    assert code == 0
    assert same_weights(library["first"], merge(library, "linear", names=["poetry", "sql"]))
    assert library["last"].card.parents == ("first", "card games")
    assert "ignored   tokenizer_source: a merged expert has no tokenizer" in output.splitlines()
    folder = tmp_path / "out" / "last"
    assert lorary("merge", library.url, "--recipe", str(recipe), "--out", str(folder))[0] == 0
    assert same_weights(read_peft(folder.parent / "first"), library["first"])
    recipe.write_text(recipe.read_text().replace("name: first\n", ""))
    code, _, errors = lorary("merge", library.url, "--recipe", str(recipe), "--out", "other")
    assert code == 2 and "document 1 of the recipe file has no name" in errors
    assert "add the key name, as in name: first" in errors
    code, _, errors = lorary("merge", library.url, "--recipe", str(recipe), "--dry-run")
    assert code == 2 and "document 1 of the recipe file has no name" in errors


TWO = """
name: first
models: [{model: poetry}, {model: sql}]
merge_method: linear
---
models: [{model: first}, {model: card games}]
merge_method: linear
"""


def test_several_documents_give_one_json_value(lorary, library, tmp_path):
    """Guards one JSON object after the other, which no JSON parser reads."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(TWO)
    words = ("merge", library.url, "--recipe", str(recipe), "--out", "last", "--json")
    plans = json.loads(lorary(*words, "--dry-run")[1])
    assert [plan["names"] for plan in plans] == [["poetry", "sql"], ["first", "card games"]]
    outcomes = json.loads(lorary(*words)[1])
    assert [outcome["expert"] for outcome in outcomes] == ["first", "last"]


def test_one_next_command_follows_several_documents(lorary, library, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(TWO)
    output = lorary("merge", library.url, "--recipe", str(recipe), "--out", "last")[1]
    assert output.count("next: ") == 1
    assert output.endswith(f"next: lorary generate {library.url} PROMPT --expert last\n")


def test_an_expert_that_a_document_shadows_and_a_filter_without_effect_are_told(lorary, library, tmp_path):
    """Guards a document named as an expert, which took its place in silence."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: sql\nmodels: [{model: poetry}]\nmerge_method: linear\n---\n"
        "models: [{model: sql}, {model: card games}]\nmerge_method: linear\n"
        "parameters: {weight: [{filter: nothing, value: 2}, {value: 1}]}\n"
    )
    code, output, _ = lorary("merge", library.url, "--recipe", str(recipe), "--dry-run")
    assert code == 0
    assert (
        "ignored   expert 'sql' of the library: in this recipe the name means the result of another "
        "document\n" in output
    )
    assert "ignored   filter 'nothing': it matches no module that the experts change" in output
