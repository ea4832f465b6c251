"""``lorary merge --as-general``: a general expert of adapters made elsewhere."""

import shutil

from lorary.library import Library
from lorary.library.general import list_generals


def test_a_merge_can_be_the_general_expert_of_a_library(lorary, trained_library, tmp_path):
    place = str(tmp_path / "library")
    shutil.copytree(trained_library, place)
    code, output, errors = lorary("merge", place, "--method", "linear", "--as-general", "--out", "common")
    assert code == 0, errors
    assert "its role is general: routers fall back on it" in " ".join(output.split())
    library = Library.open(place)
    assert list_generals(library) == ["common"]
    assert library["common"].card.provenance["recipe"]["merge_method"] == "linear"
