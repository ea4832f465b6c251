import warnings

import lorary
from lorary.cli.own_warnings import plain_warnings


def show(filename: str) -> str:
    return warnings.formatwarning("the expert is of another base", UserWarning, filename, 3, "code()")


def test_warnings_of_this_package_are_plain_lines():
    """They were printed with a file, a line number and a line of code."""
    with plain_warnings():
        assert show(lorary.__file__) == "warning: the expert is of another base\n"


def test_warnings_of_other_packages_name_their_place(tmp_path):
    other = str(tmp_path / "other.py")
    usual = show(other)
    with plain_warnings():
        assert show(other) == usual and f"{other}:3" in usual


def test_the_usual_format_comes_back():
    usual = warnings.formatwarning
    with plain_warnings():
        assert warnings.formatwarning is not usual
    assert warnings.formatwarning is usual
