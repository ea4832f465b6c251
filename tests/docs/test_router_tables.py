"""Pages say of every router what it uses, as the table of routers does."""

from pathlib import Path

import pytest

from lorary.routing import ROUTERS
from lorary.routing.uses import group_by_uses

ROOT = Path(__file__).parents[2]


def read_rows(page):
    """The cells of all table rows of a page, without marks."""
    lines = (ROOT / page).read_text().splitlines()
    return [
        [cell.strip().strip("`") for cell in line.strip("| ").split("|")] for line in lines if line[:1] == "|"
    ]


@pytest.mark.parametrize("page", ["docs/routers.md", "docs/design.md"])
@pytest.mark.parametrize("router", ROUTERS)
def test_the_tables_of_routers_say_what_each_one_uses(page, router):
    found = [cells[1] for cells in read_rows(page) if cells[0].split(" ")[0] == router and len(cells) > 2]
    assert str(ROUTERS[router].uses) in found


def test_the_readme_lists_all_routers_by_what_they_use():
    rows = {cells[0]: cells[1] for cells in read_rows("README.md") if len(cells) == 2}
    for uses, names in group_by_uses(ROUTERS).items():
        found = rows[str(uses)].replace(" (the default)", "").replace("`", "")
        assert sorted(found.split(", ")) == sorted(names)
