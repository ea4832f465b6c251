import pytest

from lorary.errors import suggest


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pricse", "did you mean 'prices'?"),
        ("poem", "did you mean 'poetry'?"),
        ("plurls", "known are poetry, prices"),  # half of its letters are those of 'prices'
    ],
)
def test_a_name_is_suggested_if_it_is_near_and_else_all_are_listed(name, told):
    assert suggest(name, ["prices", "poetry"]) == told
    assert suggest(name, []) == "there is none yet"
