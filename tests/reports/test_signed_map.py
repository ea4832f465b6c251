import re

from lorary.reports.signed_map import signed_map


def draw(cells, **options):
    settings = {"scale": 2.0, "digits": 1} | options
    return signed_map(cells, ["dates", "morse"], **settings)


def test_sign_and_size_choose_the_colour_and_the_scale_has_all_of_it():
    page = draw({"dates": {"dates": 2.0, "morse": -1.0}, "morse": {"dates": 0.0, "morse": -9.0}})
    assert re.findall(r'<td class="(\w+)"', page) == ["h10", "n5", "h0", "n10"]
    assert re.findall(r">(-?\d\.\d)</td>", page) == ["2.0", "-1.0", "0.0", "-9.0"]


def test_missing_values_stay_empty_and_the_own_column_is_framed():
    page = draw({"dates": {"morse": 1.0}}, own={"dates": "morse"})
    assert "<td></td>" in page
    assert '<td class="h5 own" title="dates: morse 1.0">' in page


def test_names_are_escaped_and_a_scale_of_zero_is_white():
    page = draw({"<b>": {"dates": 0.0, "morse": 0.0}}, scale=0.0)
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert 'class="h0"' in page


def test_what_is_rounded_to_zero_has_no_sign_and_many_columns_are_narrow():
    assert ">0.0</td>" in draw({"dates": {"dates": -0.01}})
    assert 'class="heat"' in draw({})
    assert 'class="heat dense"' in signed_map({}, [str(n) for n in range(40)], scale=1.0, digits=1)
