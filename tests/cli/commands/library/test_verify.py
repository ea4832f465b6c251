import json
from pathlib import Path

import pytest


@pytest.fixture
def damaged(library):
    """The library, with one byte of the weights of ``sql`` changed."""
    path = Path(library.url, "sql", "adapter_model.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return library


def test_a_whole_library_is_well(lorary, library):
    code, output, errors = lorary("library", "verify", library.url)
    assert (code, errors) == (0, "")
    assert output.startswith(f"no problem in 3 experts of library {library.url!r}\n")


def test_a_changed_byte_is_found(lorary, damaged):
    code, output, _ = lorary("library", "verify", damaged.url)
    assert code == 2
    assert output.startswith("sql/adapter_model.safetensors: has changed since it was stored")
    assert "\n1 problem in 3 experts\n" in output


def test_only_the_named_experts_are_read(lorary, damaged):
    code, output, _ = lorary("library", "verify", damaged.url, "poetry", "card games")
    assert code == 0
    assert output.startswith("no problem in 2 experts")


def test_json_lists_the_problems(lorary, damaged):
    code, output, _ = lorary("library", "verify", damaged.url, "--json")
    assert code == 2
    (problem,) = json.loads(output)
    assert (problem["expert"], problem["file"]) == ("sql", "adapter_model.safetensors")


def test_json_of_a_whole_library_is_an_empty_list(lorary, library):
    code, output, _ = lorary("library", "verify", library.url, "--json")
    assert (code, json.loads(output)) == (0, [])


def test_an_unknown_expert_is_refused(lorary, library):
    code, _, errors = lorary("library", "verify", library.url, "poerty")
    assert code == 2
    assert "has no expert 'poerty': did you mean 'poetry'?" in errors


def test_what_belongs_to_no_expert_is_found_where_all_is_looked_at(lorary, library):
    Path(library.url, "linked").symlink_to(library.url)
    code, output, _ = lorary("library", "verify", library.url)
    assert code == 2 and output.startswith("linked: 'linked' in library ") and "next: " not in output
    assert lorary("library", "verify", library.url, "sql")[0] == 0


def test_help_says_that_names_may_be_left_out(lorary):
    said = " ".join(lorary("library", "verify", "--help")[1].split())
    assert "Names of the experts; if not given: all" in said
    assert "all if none is given (required)" not in said
