import numpy as np
import pytest

from lorary.evaluation import Record, Result

ROUTES = {"oracle": 1.0, "base": 3.0, "arrow": 2.0}


@pytest.fixture
def small_result() -> Result:
    """Two tasks, three routes, numbers one can average in the head."""
    records = [
        *(Record("dates", "oracle", "loss", value) for value in (1.0, 3.0)),
        *(Record("dates", "base", "loss", value) for value in (4.0, 6.0)),
        *(Record("dates", "arrow", "loss", value) for value in (2.0, 4.0)),
        *(Record("morse", "oracle", "loss", value) for value in (1.0, 1.0, 4.0)),
        *(Record("morse", "base", "loss", value) for value in (3.0, 3.0, 6.0)),
        *(Record("morse", "arrow", "loss", value) for value in (0.0, 1.0, 2.0)),
    ]
    return Result.from_records(records, header={"date": "2026-01-01"}, attachments={"usage": {"arrow": 0.5}})


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
