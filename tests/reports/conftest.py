import pytest

from lorary.assembly import load_model
from lorary.data import Example, Task


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(build_tiny_base, draw_expert):
    """Three experts on a tiny base, with no router set."""
    base = build_tiny_base()
    experts = {name: draw_expert(base, name) for name in ("dates", "morse", "plurals")}
    return load_model(base, experts, router=None)


@pytest.fixture
def tasks():
    """One task."""
    dates = tuple(Example(f"day {number}", (f"2024-01-{number}",)) for number in (3, 14, 25, 26, 27))
    return {"dates": Task("dates", {"test": dates}, definition="Write the date.")}
