from dataclasses import dataclass
from typing import Literal

import pytest

from lorary.transforms.merging.checks import check_finite_number, check_share, is_of_type, refuse_faults


@dataclass
class Options:
    share: float = 0.5
    count: int = 1
    is_on: bool = True
    name: str = "x"
    choice: Literal["a", "b"] = "a"


def test_sound_options_pass():
    refuse_faults(Options(share=1), [])


def test_every_type_fault_is_named():
    options = Options(share="much", count=1.5, is_on="yes", name=3, choice="c")
    with pytest.raises(ValueError, match="share must be") as caught:
        refuse_faults(options, [])
    assert str(caught.value) == (
        "share must be a number, found 'much'; count must be a whole number, found 1.5; "
        "is_on must be true or false, found 'yes'; name must be a name, found 3; "
        "choice must be 'a' or 'b', found 'c'"
    )


def test_ranges_are_looked_at_only_where_types_are_sound():
    def ranges():
        yield from check_share("share", options.share)

    options = Options(share="much")
    with pytest.raises(ValueError, match=r"^share must be a number, found 'much'$"):
        refuse_faults(options, ranges())


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, float, True),
        (1.5, float, True),
        (True, float, False),
        (True, int, False),
        (1.0, int, False),
        (1, bool, False),
    ],
)
def test_whole_numbers_are_numbers_and_truth_values_are_not(value, hint, expected):
    assert is_of_type(value, hint) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_named(value):
    assert list(check_finite_number("scale", value)) == [f"scale must be a finite number, found {value}"]
    assert list(check_share("share", value)) == [f"share must be in (0, 1], found {value}"]
