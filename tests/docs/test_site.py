"""The site has every room of the Python API; links and navigation are checked by `make docs`."""

from pathlib import Path

import pytest

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
