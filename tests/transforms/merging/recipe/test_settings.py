import pytest

from lorary.transforms.merging.recipe.settings import (
    evaluate_setting,
    evaluate_settings,
    find_setting_faults,
    list_filters,
)


@pytest.mark.parametrize(
    ("setting", "depth", "expected"),
    [
        (0.5, 0.7, 0.5),
        ("sign", 0.7, "sign"),
        ([0, 1], 0.25, 0.25),
        ([1, 0.5, 0], 0.75, 0.25),
        ([1, 0.5, 0], 1.0, 0),
        ([0.3], 0.6, 0.3),
    ],
)
def test_values_follow_straight_lines_over_the_depth(setting, depth, expected):
    assert evaluate_setting(setting, "layers.3.q", depth) == pytest.approx(expected)


def test_the_first_filter_that_fits_counts():
    setting = [{"filter": "mlp", "value": [0, 1]}, {"filter": "attn", "value": 2}, {"value": 3}]
    assert evaluate_setting(setting, "layers.0.mlp.up", 0.5) == 0.5
    assert evaluate_setting(setting, "layers.0.attn.q", 0.5) == 2
    assert evaluate_setting(setting, "lm_head", 0.5) == 3
    assert evaluate_setting(setting[:2], "lm_head", 0.5) is None
    assert evaluate_setting([{"filter": "*", "value": 4}], "lm_head", 0.5) == 4
    assert evaluate_setting([{"filter": "q_proj.weight", "value": 5}], "layers.0.q_proj", 0.5) == 5


def test_settings_without_a_value_are_left_out():
    settings = {"density": [{"filter": "mlp", "value": 0.5}], "scale": 2.0}
    assert evaluate_settings(settings, "layers.0.attn.q", 0.0) == {"scale": 2.0}


def test_filters_are_listed():
    assert list_filters([{"filter": "mlp", "value": 1}, {"filter": "*", "value": 2}, {"value": 3}]) == ["mlp"]
    assert list_filters([1, 2]) == [] and list_filters(0.5) == []


@pytest.mark.parametrize(
    "setting", [0.5, True, "sign", [1, 2.5], [{"value": 1}], [{"filter": "x", "value": [1, 2]}]]
)
def test_sound_settings_have_no_faults(setting):
    assert list(find_setting_faults("density", setting)) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ([], "density must be a value, a list of numbers"),
        (None, "density must be a value, a list of numbers"),
        ([1, "x"], "density must be a value, a list of numbers"),
        ([1, {"value": 2}], "density must be a value, a list of numbers"),
        ([{"filter": "x"}], "each entry must be {filter, value} or {value}, found {'filter': 'x'}"),
        ([{"pattern": "x", "value": 1}], "each entry must be {filter, value} or {value}"),
        ([{"filter": 3, "value": 1}], "a filter must be part of a module's path, found 3"),
        ([{"value": [{"value": 1}]}], "value must be a value or a list of numbers"),
        ([{"value": {}}], "density must be a value"),
    ],
)
def test_unsound_settings_are_explained(setting, message):
    (fault,) = find_setting_faults("density", setting)
    assert message in fault
