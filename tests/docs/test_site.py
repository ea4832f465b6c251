"""The site has every room of the Python API; links and navigation are checked by `make docs`."""

from pathlib import Path

import pytest

from tests.compatibility import describe_encoders

ROOT = Path(__file__).parents[2]
# What users do not call: the command line, and rooms whose names are imported from their modules.
INTERNAL = {"cli", "facts", "files", "kernels", "lazy", "passes"}
ROOMS = sorted(
    path.stem if path.suffix else path.name
    for path in (ROOT / "lorary").iterdir()
    if path.suffix == ".py" or (path / "__init__.py").exists()
)


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in {*INTERNAL, "__init__", "__main__"}])
def test_every_room_has_a_page_of_its_names(room):
    assert f"::: lorary.{room}\n" in (ROOT / f"docs/api/{room}.md").read_text()


PAGES = sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_in_the_navigation_and_linked_from_the_first_page(page):
    assert f" {page}\n" in (ROOT / "mkdocs.yml").read_text()
    first = (ROOT / "docs/index.md").read_text()
    # The names of the rooms are listed on the page of the Python API.
    assert page == "index.md" or page.startswith("api/") or f"]({page})" in first


def test_the_page_of_what_works_names_the_kinds_of_encoders_that_are_tested():
    page = " ".join((ROOT / "docs/compatibility.md").read_text().split())
    assert f"of these kinds: {describe_encoders()}. Other models" in page
