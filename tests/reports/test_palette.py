import pytest

from lorary.reports.palette import (
    BASE_COLOURS,
    DARK_PAGE,
    DARK_TEXT,
    LIGHT_PAGE,
    LIGHT_TEXT,
    blend,
    contrast,
    expert_shades,
    heat_shades,
)

MANY_NAMES = [f"expert-{index}" for index in range(200)]


def test_contrast_is_that_of_the_standard():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_blending_moves_from_one_colour_to_the_other():
    assert blend("#ff0000", "#0000ff", 1) == "#ff0000"
    assert blend("#ff0000", "#0000ff", 0) == "#0000ff"
    assert blend("#ff0000", "#0000ff", 0.2) == "#3300cc"


@pytest.mark.parametrize("names", [MANY_NAMES[: len(BASE_COLOURS)], MANY_NAMES], ids=["listed", "hashed"])
def test_text_is_readable_on_every_expert_in_both_schemes(names):
    for shade in expert_shades(names):
        assert contrast(LIGHT_TEXT, shade.light_fill) >= 7
        assert contrast(DARK_TEXT, shade.dark_fill) >= 4.5
        assert contrast(shade.dark_line, DARK_PAGE) >= 3


def test_text_is_readable_on_all_heat():
    for light, dark in heat_shades():
        assert contrast(LIGHT_TEXT, light) >= 4.5
        assert contrast(DARK_TEXT, dark) >= 4.5
    assert heat_shades()[0] == (LIGHT_PAGE, DARK_PAGE)


def test_sixteen_experts_have_sixteen_colours():
    shades = expert_shades(MANY_NAMES[:16])
    assert len({shade.light_line for shade in shades}) == 16
    assert len({shade.dark_fill for shade in shades}) == 16


def test_beyond_them_a_colour_belongs_to_the_name_not_to_the_place():
    shades = dict(zip(MANY_NAMES, expert_shades(MANY_NAMES), strict=True))
    turned = dict(zip(MANY_NAMES[::-1], expert_shades(MANY_NAMES[::-1]), strict=True))
    assert shades == turned
    assert len(set(map(str, shades.values()))) > 190
