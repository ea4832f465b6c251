"""Names and paths within a saved model's folder."""

import pytest

from lorary.assembly.folder_files import is_beneath
from lorary.assembly.saved_model import is_saved_model
from lorary.errors import BaseModelError
from lorary.models import load_base


@pytest.mark.parametrize("name", ["\0", "a" * 5000, "\x1b[2J", ""])
def test_names_that_are_none_are_refused_in_a_short_line(name):
    with pytest.raises(BaseModelError) as caught:
        load_base(name)
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a", "a/b.json", "experts/.lorary/artifacts/x/y"])
def test_paths_beneath_are_told(name):
    assert is_beneath(name)


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/../b", "/a", "a//b", "a/", "./a"])
def test_paths_that_may_lead_elsewhere_are_told(name):
    assert not is_beneath(name)


def test_no_folder_at_all_is_told():
    assert not is_saved_model("a" * 5000)
    assert not is_saved_model("/dev/null")
