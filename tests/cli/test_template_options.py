import pytest

from lorary.cli.template_options import read_template_args


def test_words_name_values_of_json_or_text():
    assert read_template_args(["enable_thinking=false", "effort=low", "depth=2", "a=b=c"]) == {
        "enable_thinking": False,
        "effort": "low",
        "depth": 2,
        "a": "b=c",
    }
    assert read_template_args("enable_thinking=true") == {"enable_thinking": True}
    assert read_template_args({"enable_thinking": False}) == {"enable_thinking": False}
    assert read_template_args(None) == {}


@pytest.mark.parametrize("value", [["enable_thinking"], ["a=1", "a=2"], ["=1"], 3])
def test_words_that_name_nothing_are_refused(value):
    with pytest.raises(ValueError, match="must give each name once, as in enable_thinking=false"):
        read_template_args(value)
