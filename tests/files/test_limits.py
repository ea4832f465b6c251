import pytest

from lorary.files import LIMITS


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_can_be_raised_by_its_variable(name, monkeypatch):
    assert LIMITS[name].value == LIMITS[name].default > 0
    monkeypatch.setenv(f"LORARY_MAX_{name.upper()}", "1e9")
    assert LIMITS[name].value == 1e9
    assert f"LORARY_MAX_{name.upper()}" in LIMITS[name].advice


@pytest.mark.parametrize("text", ["", "many", "0", "-1", "nan"])
def test_a_limit_that_is_no_number_above_0_is_refused(text, monkeypatch):
    monkeypatch.setenv("LORARY_MAX_JSON_MB", text)
    with pytest.raises(ValueError, match="LORARY_MAX_JSON_MB must be a number above 0"):
        _ = LIMITS["json_mb"].value
