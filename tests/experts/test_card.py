import pytest

from lorary.experts import ExpertCard


def test_a_card_equals_one_made_from_lists_and_tuples_alike():
    card = ExpertCard(tasks=["a", "b"], provenance={"seeds": (1, 2)}, scores={"loss": 2})
    assert card == ExpertCard(tasks=("a", "b"), provenance={"seeds": [1, 2]}, scores={"loss": 2.0})


def test_a_card_does_not_change_with_what_it_was_made_from():
    provenance = {"data": {"rows": 3}}
    card = ExpertCard(provenance=provenance)
    provenance["data"]["rows"] = 4
    assert card.provenance == {"data": {"rows": 3}}


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"tasks": "poetry"}, TypeError, "tasks must be a tuple of strings, found 'poetry'"),
        ({"tags": (1,)}, TypeError, "tags must be a tuple of strings"),
        ({"description": None}, TypeError, "description must be a string, found None"),
        ({"base_revision": 3}, TypeError, "base_revision must be a string or None, found 3"),
        ({"fan_in_fan_out": 1}, TypeError, "fan_in_fan_out must be true or false, found 1"),
        ({"scores": {"loss": "low"}}, TypeError, "scores must map names to numbers, found 'loss': 'low'"),
        ({"scores": {"loss": float("nan")}}, ValueError, "a score must be finite, found nan for 'loss'"),
        ({"scores": [1.0]}, TypeError, "scores must map names to numbers"),
        ({"provenance": {"when": object()}}, ValueError, "provenance must have JSON values only"),
        ({"provenance": {"loss": float("inf")}}, ValueError, "provenance must have JSON values only"),
        ({"provenance": "by hand"}, TypeError, "provenance must be a mapping, found 'by hand'"),
    ],
)
def test_a_wrong_field_is_named(fields, error, message):
    with pytest.raises(error, match=message):
        ExpertCard(**fields)
