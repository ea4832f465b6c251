from math import nan

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.image import imread

from lorary.reports.transfer_plot import plot_transfer

STARTS = ["fresh", "base", "sql", "po$etry"]
TASKS = ["greek", "la_tin"]
BEFORE = np.array([[4.0, 3.0], [4.0, 3.0], [3.0, 5.0], [3.9, 2.9]])
AFTER = np.array([[2.0, 1.0], [4.0, 3.0], [1.5, 1.2], [1.9, 0.9]])


def test_the_pictures_are_a_png_an_svg_and_a_pdf(tmp_path):
    paths = [tmp_path / "new" / f"transfer.{kind}" for kind in ("png", "svg", "pdf")]
    plot_transfer(paths[0], STARTS, TASKS, BEFORE, AFTER)
    pixels = imread(paths[0])[..., :3]
    assert pixels.shape[0] > 300 and pixels.shape[1] > 500
    # White is equal: the controls' own rows and the page; there are blue and red cells beside it.
    blue, red = pixels[..., 2] - pixels[..., 0], pixels[..., 0] - pixels[..., 2]
    assert (blue > 0.3).sum() > 500 and (red > 0.3).sum() > 500
    assert b"<svg" in paths[1].read_bytes()
    assert paths[2].read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_the_same_numbers_give_the_same_file(tmp_path, kind):
    paths = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for path in paths:
        plot_transfer(path, STARTS, TASKS, BEFORE, AFTER)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_best_start_is_on_top(tmp_path):
    """The order is that of the mean after training; the labels of the SVG are in that order."""
    with rc_context({"svg.fonttype": "none"}):
        plot_transfer(tmp_path / "a.svg", STARTS, TASKS, BEFORE, AFTER)
    text = (tmp_path / "a.svg").read_text()
    places = [text.index(f">{name}</text>") for name in ("sql", "po$etry", "fresh", "base")]
    assert places == sorted(places)


def test_without_training_there_is_one_map(tmp_path):
    with rc_context({"svg.fonttype": "none"}):
        plot_transfer(tmp_path / "one.svg", STARTS, TASKS, BEFORE, BEFORE)
        plot_transfer(tmp_path / "two.svg", STARTS, TASKS, BEFORE, AFTER)
    one, two = ((tmp_path / f"{name}.svg").read_text() for name in ("one", "two"))
    assert one.count(">greek</text>") == 1 and "without training, minus base model" in one
    assert two.count(">greek</text>") == 2 and "after training, minus fresh expert" in two


def test_one_task_and_equal_losses_are_drawn(tmp_path):
    same = np.ones((4, 1))
    plot_transfer(tmp_path / "a.png", STARTS, ["greek"], same, same)
    assert (tmp_path / "a.png").exists()


def test_many_starts_and_tasks_are_drawn(tmp_path):
    starts = ["fresh", "base", *(f"expert {number}" for number in range(300))]
    numbers = np.random.default_rng(0).uniform(1, 5, (302, 40))
    plot_transfer(
        tmp_path / "a.png", starts, [f"task {number}" for number in range(40)], numbers, numbers / 2
    )
    assert (tmp_path / "a.png").exists()


def test_bad_numbers_are_refused(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(ValueError, match=r"finite numbers \[4, 2\], one per start and task, found \[4, 1\]"):
        plot_transfer(path, STARTS, TASKS, BEFORE[:, :1], AFTER)
    with pytest.raises(ValueError, match="with 8 that are not finite"):
        plot_transfer(path, STARTS, TASKS, BEFORE, AFTER * nan)
    with pytest.raises(ValueError, match="needs the control 'base' among the starts"):
        plot_transfer(path, ["fresh", "b", "c", "d"], TASKS, BEFORE, AFTER)
    with pytest.raises(ValueError, match="at least one task, found none"):
        plot_transfer(path, STARTS, [], BEFORE[:, :0], AFTER[:, :0])
    assert not path.exists()
