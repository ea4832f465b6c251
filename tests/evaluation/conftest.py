import numpy as np
import pytest

from lorary.assembly import load_model
from lorary.data import Example, Task
from lorary.evaluation import Result

CODES = (("a", ".-"), ("b", "-..."), ("e", "."), ("q", "--.-"))
ROUTES = {"oracle": 1.0, "base": 3.0, "arrow": 2.0}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("LORARY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def noisy_result() -> Result:
    """Three tasks of unequal size where hard examples are hard for every route."""
    random = np.random.default_rng(3)
    scores = {}
    for task, count in {"dates": 40, "morse": 25, "plurals": 60}.items():
        hardness = random.normal(0, 2, count)
        for route, level in ROUTES.items():
            values = level + hardness + random.normal(0, 0.3, count)
            scores[task, route, "loss"] = tuple(values.tolist())
    return Result(scores)


@pytest.fixture
def model(build_tiny_base, draw_expert):
    """Three experts and a control on a tiny base, with no router set."""
    base = build_tiny_base()
    experts = {name: draw_expert(base, name) for name in ("dates", "morse", "plurals")}
    return load_model(base, experts, router=None, controls={"random": draw_expert(base, "random")})


@pytest.fixture
def tasks():
    """Two tasks; one of them has choices in some examples."""
    dates = tuple(Example(f"day {number}", (f"2024-01-{number}",)) for number in (3, 14, 25, 26, 27))
    morse = (
        *(Example(f"letter {letter}", (code,), ("-.-", "...", code, ".-.-.-")) for letter, code in CODES),
        Example("what is morse", ("a code",)),
    )
    return {
        "dates": Task("dates", {"test": dates, "validation": dates[:2]}, definition="Write the date."),
        "morse": Task("morse", {"test": morse}),
    }
