from lorary.transforms.merging import make_recipe, parse_recipe
from lorary.transforms.merging.card import describe_merge
from lorary.transforms.merging.job import prepare_merge


def test_the_card_says_how_to_repeat_the_merge_and_what_it_lost(experts):
    recipe = make_recipe(experts, "ties", weights=[0.5, 0.3, 0.2], options={"density": 0.4})
    card = describe_merge(prepare_merge(experts, recipe), {"model.layers.0.attn.q": 0.123456789})
    assert card.parents == ("poetry", "sql", "chess") and card.tags == ("merged",)
    assert card.tasks == ("odes", "queries", "mates")
    assert card.base_fingerprint == "f00d" and card.description == "3 experts merged by ties"
    assert parse_recipe(card.provenance["recipe"]) == recipe
    assert card.provenance["weights"] == {"poetry": 0.5, "sql": 0.3, "chess": 0.2}
    assert card.provenance["truncation_error"] == {"model.layers.0.attn.q": 0.123457}


def test_weights_by_layer_are_in_the_recipe_alone(experts):
    recipe = make_recipe(experts, "linear", weights={"poetry": [0, 1], "sql": 1, "chess": 1})
    card = describe_merge(prepare_merge(experts, recipe), {})
    assert "weights" not in card.provenance
    assert card.provenance["recipe"]["models"][0]["parameters"] == {"weight": [0, 1]}
