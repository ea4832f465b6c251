import json
from dataclasses import replace

import pytest

from lorary.library import Library
from lorary.transforms.prototypes import library_prototypes


def test_what_is_missing_is_computed_once(lorary, library, make_expert):
    assert json.loads(lorary("prototypes", library.url, "--json")[1])["new"] == 3
    library.add(make_expert("haiku"))
    found = json.loads(lorary("prototypes", library.url, "--json")[1])
    assert (found["experts"], found["there"], found["new"]) == (4, 3, 1)
    assert json.loads(lorary("prototypes", library.url, "--json")[1])["new"] == 0


def test_gains_are_those_of_the_prototypes(lorary, library):
    found = json.loads(lorary("prototypes", library.url, "--json")[1])["gains"]
    names = sorted(library)
    gains = library_prototypes(library, names)["layers.0.proj"][1].tolist()
    assert list(found) == names
    assert [found[name]["layers.0.proj"] for name in names] == pytest.approx(gains)


def test_people_see_a_line_per_expert_and_how_many_were_new(lorary, library):
    code, output, _ = lorary("prototypes", library.url)
    assert code == 0
    lines = output.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["card games", "poetry", "sql"]
    assert "layers.0.proj" in lines[1]
    assert lines[4].startswith("prototypes of 3 experts: 0 loaded, 3 computed")
    assert lines[5] == f"next: lorary generate {library.url} PROMPT --show-experts"


def test_experts_for_several_bases_are_kept_apart(lorary, library, make_expert, draw_expert, build_tiny_base):
    library.add(replace(draw_expert(build_tiny_base(), "elsewhere"), base_model="other-base"))
    found = json.loads(lorary("prototypes", library.url, "--json")[1])
    assert len(found["gains"]["elsewhere"]) == 14
    only = json.loads(lorary("prototypes", library.url, "--base", "other-base", "--json")[1])
    assert list(only["gains"]) == ["elsewhere"]


def test_what_cannot_be_computed_is_refused(lorary, library, tmp_path):
    code, output, errors = lorary("prototypes", library.url, "--base", "tiny-bass")
    assert (code, output) == (2, "")
    assert "has no expert for base model 'tiny-bass', only for 'tiny-base'" in errors
    Library.open(str(tmp_path / "empty"), create=True)
    code, _, errors = lorary("prototypes", str(tmp_path / "empty"))
    assert (code, "is empty" in errors) == (2, True)
