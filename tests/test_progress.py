"""One bar for the progress of every kind of work."""

import pytest

from lorary import ProgressBar
from lorary.evaluation.running import EvalEvent
from lorary.training.loop.event import TrainEvent

CALLS = {
    "numbers": ((2, 4), "2/4"),
    "a text and numbers": (("calibrating", 3, 4), "3/4 [00:00<00:00"),
    "an evaluation": ((EvalEvent("arrow", 1, 4),), "arrow"),
    "a training": ((TrainEvent(3, 4, 100, {}, {"poetry": 1.5, "sql": 2.5}),), "loss 2.00"),
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_bar_takes_what_any_progress_tells(kind, capsys):
    progress, shown = CALLS[kind]
    with ProgressBar("working") as bar:
        bar(*progress)
    told = capsys.readouterr().err
    assert "working" in told and shown.partition(" [")[0] in told


def test_a_bar_ends_when_all_is_done_and_may_begin_again(capsys):
    bar = ProgressBar()
    for done in (1, 2, 1):
        bar(done, 2)
    bar.close()
    assert capsys.readouterr().err.count("\n") == 2
