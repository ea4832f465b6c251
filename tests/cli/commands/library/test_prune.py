import json

import pytest
import torch


@pytest.fixture
def pruned_from(library):
    """The library, with an artifact of each of its experts, one of which is gone."""
    library.artifacts("norm-1", {}, lambda experts: {name: {"x": torch.ones(9)} for name in experts})
    del library["sql"]
    return library


def test_what_belongs_to_no_expert_is_removed(lorary, pruned_from):
    url = pruned_from.url
    code, output, errors = lorary("library", "prune", url)
    assert (code, errors) == (0, "")
    assert output.splitlines() == [
        f"removed 1 artifact of absent experts (0.0 MB) from library {url!r}, kept 2",
        f"next: lorary library ls {url}",
    ]
    assert lorary("library", "prune", url)[1].startswith("removed 0 artifacts")


def test_json_has_the_counts(lorary, pruned_from):
    code, output, _ = lorary("library", "prune", pruned_from.url, "--json")
    found = json.loads(output)
    assert (code, found["num_removed"], found["num_kept"]) == (0, 1, 2)
    assert found["num_bytes"] > 36


def test_a_folder_that_is_no_library_is_refused(lorary, tmp_path):
    code, _, errors = lorary("library", "prune", str(tmp_path / "none"))
    assert code == 2 and "there is no library at" in errors
