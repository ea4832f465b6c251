from math import nan

import numpy as np
import pytest
from matplotlib.image import imread

from lorary.reports.usage_plot import plot_usage


def test_the_picture_is_a_png_with_the_heat_in_it(tmp_path):
    path = tmp_path / "pictures" / "usage.png"
    plot_usage(path, {"da$tes": {"a": 0.9, "b": 0.1}, "morse": {"b": 1.0}})
    assert path.read_bytes()[:4] == b"\x89PNG"
    pixels = imread(path)[..., :3]  # [height, width, 3]
    # The darkest blue of the map is there because one share is 1.
    assert (np.abs(pixels - np.array([8, 48, 107]) / 255).max(axis=-1) < 0.01).sum() > 500


def test_the_picture_grows_with_the_number_of_tasks_and_experts(tmp_path):
    sizes = []
    for count in (2, 6):
        names = [f"n{index}" for index in range(count)]
        plot_usage(tmp_path / "usage.png", {task: dict.fromkeys(names, 1 / count) for task in names})
        sizes.append(imread(tmp_path / "usage.png").shape[:2])
    assert sizes[1][0] > sizes[0][0] and sizes[1][1] > sizes[0][1]


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"needs a task and an expert, found \[\] and \[\]"):
        plot_usage(tmp_path / "usage.png", {})


def test_a_share_that_is_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="share of expert 'b' on task 'morse' must be finite, found nan"):
        plot_usage(tmp_path / "usage.png", {"dates": {"a": 1.0}, "morse": {"b": nan}})
