import json
from pathlib import Path

import pytest

from lorary.errors import LibraryError
from lorary.library import Library


@pytest.fixture
def library(tmp_path):
    return Library.open(tmp_path / "lib", create=True)


def read_marker(library):
    return json.loads(Path(library.url, "library.json").read_text())


def test_tuned_options_are_kept_in_the_marker_until_they_are_removed(library):
    assert library.tuned("calibrated") == {}
    library.tune("calibrated", {"margin": None, "most": 0.7})
    library.tune("arrow", {"top_k": 2})
    again = Library.open(library.url)
    assert again.tuned("calibrated") == {"margin": None, "most": 0.7}
    again.tune("calibrated", {"margin": 0.25})
    assert library.tuned("calibrated") == {"margin": 0.25} and library.tuned("arrow") == {"top_k": 2}
    library.tune("calibrated", None)
    library.tune("arrow", None)
    assert read_marker(library) == {"lorary": 1, "kind": "library"}


@pytest.mark.parametrize("found", [[1], {"calibrated": 3}])
def test_options_that_are_no_mapping_are_refused(library, found):
    marker = {**read_marker(library), "tuned": found}
    Path(library.url, "library.json").write_text(json.dumps(marker))
    with pytest.raises(LibraryError, match=r"must have a router's tuned options by name, found .*'tuned'"):
        library.tuned("calibrated")
