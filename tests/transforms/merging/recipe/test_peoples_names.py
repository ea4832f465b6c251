"""Keys of mergekit's recipes that change no expert, and names of experts and bases."""

import pytest

from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.transforms.merging import merge_by_recipe, plan_merge
from tests.transforms.merging.recipe.people import check, slerp


def test_keys_that_change_no_expert_are_listed_with_the_reason(library, read):
    recipe = read(
        "models:\n- {model: a, parameters: {weight: 0.6, density: 0.5}}\n"
        "- {model: b, parameters: {weight: 0.4, density: 0.5}}\nmerge_method: dare_linear\n"
        "base_model: org/base\ntokenizer_source: union\nchat_template: auto\nout_dtype: bfloat16\n"
        "name: mine\n"
    )
    assert len(recipe.ignored) == 4 and recipe.merge_method == "dare"
    for key in ("tokenizer_source: a merged expert", "chat_template", "out_dtype", "name"):
        assert any(sentence.startswith(key) for sentence in recipe.ignored)
    assert plan_merge(library, recipe).ignored == recipe.ignored
    assert merge_by_recipe(library, recipe).card.provenance["ignored"] == list(recipe.ignored)


def test_parameters_that_the_method_has_no_use_for_are_listed(read):
    recipe = read(
        "models: [{model: a, parameters: {weight: 1, t: 0.2}}, {model: b, parameters: {density: 0.5}}]\n"
        "merge_method: slerp\nparameters: {t: 0.3, epsilon: 0.1}\n"
    )
    assert recipe.parameters == {"t": 0.3} and not recipe.models[0].parameters
    assert set(recipe.ignored) == {
        "weight of 'a', density of 'b', epsilon: slerp does not use it",
        "t of 'a': slerp uses one value for all experts, from the recipe's parameters",
    }


def test_an_unknown_parameter_is_refused(read):
    with pytest.raises(ValueError, match="unknown option 'densty': did you mean 'density'"):
        read("models: [{model: a}]\nmerge_method: ties\nparameters: {densty: 0.3}\n")


def test_a_base_with_a_lora_is_an_expert(library, read):
    text = (
        "models:\n- {model: BASE+a, parameters: {weight: 0.5}}\n"
        "- {model: BASE@main+user/b@v1, parameters: {weight: 0.5}}\nmerge_method: linear\n"
    )
    check(library, read(text.replace("BASE", "org/base")), lambda path, d: (d["a"] + d["b"]) / 2)
    with pytest.raises(IncompatibleExpert, match="the experts' base model 'org/base', found 'org/other'"):
        merge_by_recipe(library, read(text.replace("BASE", "org/other")))


def test_a_hub_id_names_the_expert_of_its_last_part(library, read):
    recipe = read(
        "models: [{model: user/a}]\nmerge_method: slerp\nbase_model: user/b\nparameters: {t: 0.3}\n"
    )
    check(library, recipe, lambda path, d: slerp(d["b"], d["a"], 0.3))


def test_a_name_that_is_neither_expert_nor_base_is_unknown(library, read):
    with pytest.raises(UnknownExpert, match="no expert 'd'"):
        merge_by_recipe(library, read("models: [{model: a}, {model: d}]\nmerge_method: linear\n"))
