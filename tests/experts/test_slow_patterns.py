import re

import pytest

from lorary.experts.slow_patterns import is_slow


@pytest.mark.parametrize(
    "pattern",
    [
        "(.|.)*!",
        r"x\.((ab|a)+)?!",
        "(a*)*b",
        "(?:(a+))+b",
        r"(\w+\.?)*!",
        "(a|(b|(.|.)*))",
        "(?=(.|.)*)x",
        r"(.*\.)?((.|.)*!)",
    ],
)
def test_a_pattern_that_tries_everything_twice_is_found(pattern):
    assert is_slow(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        ".*",
        r"(.*\.)?(model\.layers\.(1[0-9]|2[0-3])\..*)",
        r"layers\.\d+\.(self_attn|mlp)\.(q|k|v)_proj",
        r"(\w+\.)*q_proj",
        "(q|k)*",
        "(ab|a){1,3}",
        "(?!(?:a|b)$).+",
        r"(a)\1*",
        "[ab]+c+",
    ],
)
def test_a_pattern_that_people_write_is_not(pattern):
    assert not is_slow(pattern)


def test_what_is_no_expression_is_told_as_by_python():
    with pytest.raises(re.error):
        is_slow("(")
