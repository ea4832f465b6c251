import json
import math
import random
from dataclasses import asdict

import pytest

from lorary.training.progress import UnitPlan, UnitProgress, parse_progress

PLAN = UnitPlan(tokens=(10, 12, 9, 11, 10), validate_every=2, patience=2)


def run(plan, train, validation):
    """Record a training as a trainee does."""
    progress, losses = UnitProgress(), iter(validation)
    for loss, num_tokens in zip(train, plan.tokens, strict=False):
        progress.record_step(loss, num_tokens, plan)
        if plan.is_due(progress.step):
            progress.record_validation(next(losses), plan)
    return progress


def to_file(progress):
    return json.loads(json.dumps(asdict(progress)))


@pytest.fixture
def progress():
    return run(PLAN, [3.0, 2.5, 2.25, 2.0], [2.5, 2.75])


@pytest.mark.parametrize("num_steps", range(6))
@pytest.mark.parametrize("changes", [{}, {"validate_every": None}, {"patience": None}, {"validate_every": 1}])
def test_whatever_a_trainee_records_is_read_back(num_steps, changes):
    plan = UnitPlan(**{**vars(PLAN), "patience": 9, **changes})
    rng = random.Random(num_steps)
    found = run(plan, [rng.random() for _ in range(num_steps)], [rng.random() for _ in range(num_steps)])
    assert parse_progress(to_file(found), plan) == found
    assert found.is_finished == (num_steps == 5)


def test_an_early_stop_is_read_back(progress):
    plan = UnitPlan(tokens=PLAN.tokens, validate_every=1, patience=2)
    stopped = run(plan, [3.0, 2.5, 2.25], [2.0, 2.5, 2.5])
    assert stopped.is_finished and stopped.best_step == 1
    assert parse_progress(to_file(stopped), plan) == stopped
    longer = to_file(run(UnitPlan(plan.tokens, 1, None), [3.0, 2.5, 2.25, 2.0], [2.0, 2.5, 2.5, 2.5]))
    with pytest.raises(ValueError, match="must end with early stopping at step 3, found a later"):
        parse_progress(longer, plan)


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("step", -1, "step must be 4 after these losses, found -1"),
        ("step", 5, "step must be 4"),
        ("step", 4.0, "step must be 4 after these losses, found 4.0"),
        ("step", "4", "step must be 4"),
        ("tokens", -42, "tokens must be 42 after these losses, found -42"),
        ("tokens", True, "tokens must be 42"),
        ("best_step", 9, "best_step must be 2"),
        ("best_step", None, "best_step must be 2"),
        ("best_loss", 0.5, "best_loss must be 2.5"),
        ("best_loss", [2.5], "best_loss must be 2.5"),
        ("num_worse", 7, "num_worse must be 1"),
        ("is_finished", True, "is_finished must be False"),
        ("is_finished", 0, "is_finished must be False after these losses, found 0"),
        ("train_curve", None, r"train_curve must be a list of \[step, loss\], found None"),
        ("train_curve", {"1": 2.0}, r"must be a list"),
        ("train_curve", [[1, "2.0"]], r"found \[1, '2.0'\] in it"),
        ("train_curve", [[1, True]], r"found \[1, True\] in it"),
        ("train_curve", [[True, 1.0]], r"found \[True, 1.0\] in it"),
        ("train_curve", [[1, 2.0, 3.0]], "in it"),
        ("train_curve", [1, 2], "found 1 in it"),
        ("train_curve", [[1, math.nan]], "must hold finite losses, found nan at step 1"),
        ("train_curve", [[1, -math.inf]], "must hold finite losses"),
        ("train_curve", [[2, 1.0], [1, 1.0]], r"must have steps \[1, 2\]… \(2 in all\), found \[2, 1\]"),
        ("train_curve", [[1, 1.0], [1, 1.0]], "must have steps"),
        ("train_curve", [[-1, 1.0]], "must have steps"),
        ("train_curve", [[step, 1.0] for step in range(1, 7)], "must end by step 5, found step 6"),
        ("validation_curve", [[2, 2.5]], r"validation_curve must have steps \[2, 4\]"),
        ("validation_curve", [[2, 2.5], [3, 2.0]], "must have steps"),
        ("validation_curve", "none", "must be a list"),
    ],
)
def test_numbers_that_cannot_be_true_are_refused(progress, key, value, fault):
    with pytest.raises(ValueError, match=fault):
        parse_progress({**to_file(progress), key: value}, PLAN)


@pytest.mark.parametrize("key", list(asdict(UnitProgress())))
def test_a_missing_number_is_refused_by_name(progress, key):
    record = to_file(progress)
    del record[key]
    with pytest.raises(ValueError, match=f"but '{key}' is unknown or missing"):
        parse_progress(record, PLAN)


def test_what_nobody_knows_is_refused(progress):
    with pytest.raises(ValueError, match="but 'lr' is unknown or missing"):
        parse_progress({**to_file(progress), "lr": 1.0}, PLAN)


def test_messages_stay_short_whatever_the_file_holds(progress):
    for value in ["x" * 10**6, [["y" * 10**6]], [[n, 1.0] for n in range(10**5)], 10**39]:
        for key in asdict(progress):
            with pytest.raises(ValueError, match="must") as error:
                parse_progress({**to_file(progress), key: value}, PLAN)
            assert len(str(error.value)) < 400
