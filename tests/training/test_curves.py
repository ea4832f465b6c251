import json
import math
import subprocess
import sys

import pytest

from lorary.training import curves
from lorary.training.curves import plot_curves, save_curves, smooth_curve
from lorary.training.progress import UnitProgress


def progress_of(num_steps, validated=True):
    curve = [(step, 3 * math.exp(-step / 20)) for step in range(1, num_steps + 1)]
    found = UnitProgress(step=num_steps, tokens=10 * num_steps, train_curve=curve)
    if validated:
        found.validation_curve = curve[9::10]
        found.best_step, found.best_loss = found.validation_curve[-1]
    return found


def read_size(path):
    """Width and height, from a PNG's first chunk."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


def test_saved_curves_are_the_numbers_of_the_run(tmp_path):
    found = progress_of(20)
    save_curves(tmp_path / "curves.json", {"poetry": found, "sql": progress_of(3, validated=False)})
    saved = json.loads((tmp_path / "curves.json").read_text())
    assert list(saved) == ["poetry", "sql"]
    assert saved["poetry"] == {
        "steps": 20,
        "tokens": 200,
        "best_step": 20,
        "best_validation_loss": found.best_loss,
        "train": [list(point) for point in found.train_curve],
        "validation": [list(point) for point in found.validation_curve],
    }
    assert saved["sql"]["validation"] == [] and saved["sql"]["best_step"] is None


def test_smoothing_averages_neighbours_and_keeps_straight_lines():
    line = [(step, 5.0 - 0.01 * step) for step in range(100)]
    assert smooth_curve(line)[2:-2] == pytest.approx([loss for _, loss in line[2:-2]])
    assert smooth_curve([(1, 2.0), (2, 4.0)]) == [2.0, 4.0]
    spike = [(step, float(step == 50)) for step in range(100)]
    assert smooth_curve(spike)[48:53] == pytest.approx([0.2] * 5)
    assert sum(smooth_curve(spike)) == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 7, 45])
def test_a_picture_grows_with_the_number_of_experts(tmp_path, count):
    """Each expert has a place of at least 250 × 180 pixels, in columns and rows about as many."""
    path = tmp_path / "pictures" / "curves.png"
    plot_curves(path, {f"task {number}": progress_of(30, number % 2 == 0) for number in range(count)})
    width, height = read_size(path)
    columns = min(6, math.ceil(math.sqrt(count)))
    assert width >= 250 * columns and height >= 180 * math.ceil(count / columns)
    assert width < 2000 and height < 2000


def test_beside_a_png_the_same_picture_is_written_as_svg_and_pdf(tmp_path):
    plot_curves(tmp_path / "curves.png", {"poetry": progress_of(20)})
    assert {path.name for path in tmp_path.iterdir()} == {"curves.png", "curves.svg", "curves.pdf"}
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")


def test_odd_names_and_a_single_step_are_drawn_too(tmp_path):
    plot_curves(tmp_path / "a.png", {"$x^": progress_of(1, False), "long " * 20: UnitProgress()})
    assert read_size(tmp_path / "a.png")[0] > 500


def test_the_same_curves_give_the_same_picture_and_others_another(tmp_path):
    pictures = []
    for num_steps in (20, 20, 30):
        plot_curves(tmp_path / "a.png", {"poetry": progress_of(num_steps)})
        pictures.append((tmp_path / "a.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_importing_the_room_imports_no_plotting():
    code = "import sys, lorary.training; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_picture_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a picture of loss curves needs at least one expert, found none"):
        plot_curves(tmp_path / "a.png", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "$",
        "$$x$",
        r"\frac{",
        "a\nb\tc",
        "\x1b[31m red",
        "\ud800",
        "\u202e abc",
        "詩" * 60,
        "",
        "x" * 10**6,
        "𓀀",
    ],
    ids=lambda name: ascii(name[:12]),
)
def test_whatever_an_expert_is_called_its_curve_is_drawn(tmp_path, name):
    """Guards a bug: a name in a script that the font lacks warned, one with odd signs was no formula."""
    plot_curves(tmp_path / "a.png", {name: progress_of(12)})
    assert read_size(tmp_path / "a.png")[0] > 500


def test_of_very_many_experts_the_first_are_drawn(tmp_path, monkeypatch):
    """Guards a bug: 2,000 experts make more rows of pixels than a PNG may have."""
    monkeypatch.setattr(curves, "MAX_DRAWN", 6)
    plot_curves(tmp_path / "many.png", {f"task {number}": progress_of(12) for number in range(40)})
    plot_curves(tmp_path / "six.png", {f"task {number}": progress_of(12) for number in range(6)})
    assert read_size(tmp_path / "many.png") == read_size(tmp_path / "six.png")
