from typing import Literal

import pytest
from jsonargparse import ArgumentError, ArgumentParser

from lorary.cli.value_errors import explain_value


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (int, "a whole number"),
        (int | None, "a whole number or null"),
        (float, "a number"),
        (bool, "true or false"),
        (list[int] | None, "a list, such as [1, 2] or null"),
        (Literal["x", "y"] | None, "one of 'x', 'y' or null"),
    ],
)
def test_a_value_of_the_wrong_type_is_told_what_is_expected(kind, expected):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--group.size", type=kind)
    with pytest.raises(ArgumentError) as caught:
        parser.parse_args(["--group.size", "three"])
    assert explain_value(str(caught.value)) == f"group.size must be {expected}, found three"


def test_other_reports_are_left_as_they_are():
    assert explain_value("the following arguments are required: library") == (
        "the following arguments are required: library"
    )


def test_the_command_line_says_what_an_option_takes(lorary):
    code, _, errors = lorary("train", "lib", "--tasks", "synthetic", "--training.max_steps", "three")
    assert code == 2
    message = "error: training.max_steps must be a whole number or null, found three: see lorary train --help"
    assert errors.strip() == message
