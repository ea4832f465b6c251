"""Recipe files of several documents, and recipes written down again."""

import pytest
import torch

from lorary.transforms.merging import describe_recipe, merge_by_recipe, parse_recipe, plan_merge, read_recipes
from tests.transforms.merging.recipe.people import GRADIENT, MODELS, SLICES, check, dense

TWO = """
name: first
models:
  - {model: a, parameters: {weight: 0.5}}
  - {model: b, parameters: {weight: 0.5}}
merge_method: linear
---
name: second
models:
  - {model: first, parameters: {weight: 0.5}}
  - {model: c, parameters: {weight: 0.5}}
merge_method: linear
"""


def test_each_document_is_a_merge_and_later_ones_may_use_earlier_ones(library, read, tmp_path):
    last = read(TWO)
    merged = check(library, last, lambda path, d: 0.25 * d["a"] + 0.25 * d["b"] + 0.5 * d["c"])
    assert merged.card.parents == ("first", "c")
    first, second = read_recipes(tmp_path / "recipe.yml")
    assert second == last and (first.name, second.name) == ("first", "second") and not first.ignored
    check(library, first, lambda path, d: (d["a"] + d["b"]) / 2)
    plan = plan_merge(library, last)
    assert plan.names == ("first", "c") and plan.seconds > 0


def test_a_merge_of_several_documents_is_repeated_from_its_card(library, read):
    first = merge_by_recipe(library, read(TWO))
    again = merge_by_recipe(library, parse_recipe(first.card.provenance["recipe"]))
    for path in first.factors:
        torch.testing.assert_close(dense(again, path), dense(first, path))


def test_documents_that_do_not_lead_to_one_merge_are_read_one_by_one(read, tmp_path):
    with pytest.raises(
        ValueError, match="must use all others, found 2 merges without a use of first: read them with read_"
    ):
        read(TWO.replace("model: first", "model: b"))
    assert len(read_recipes(tmp_path / "recipe.yml")) == 2
    with pytest.raises(ValueError, match="document 2: merges must have different names, found 'first'"):
        read(TWO.replace("name: second", "name: first"))


@pytest.mark.parametrize(
    "text",
    [
        SLICES,
        GRADIENT,
        MODELS + "merge_method: della\n",
        "models: [{model: org/base+a}, {model: b}]\nmerge_method: linear\n",
    ],
)
def test_what_was_read_can_be_written_down_and_read_again(read, text):
    recipe = read(text)
    assert parse_recipe(describe_recipe(recipe)) == recipe


def test_one_module_is_the_recipe_itself(library, read):
    recipe = read(
        "modules:\n  text_decoder:\n    models: [{model: a}, {model: b}]\n    parameters: {weight: 0.5}\n"
        "merge_method: linear\n"
    )
    check(library, recipe, lambda path, d: (d["a"] + d["b"]) / 2)
