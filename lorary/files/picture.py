"""Writing a picture by matplotlib as PNG, SVG and PDF; its labels may have any text."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from lorary.files.whole import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches; matplotlib writes PNG files of at most 65,536 pixels.
LONGEST_SIDE = 200
PNG, FORMATS = "png", ("png", "svg", "pdf")
# Without dates, the same figure gives the same file.
_METADATA: dict[str, dict[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "ModDate": None},
}


@contextmanager
def open_picture(
    path: str | os.PathLike[str], width: float, height: float, *, dpi: int
) -> Iterator["Figure"]:
    """Within this context, draw a figure; at the end each file is written completely or not at all.

    Args:
        path: the picture's path. Beside a file that ends in ``.png``, the same picture is written as SVG and
            PDF. A file that ends in ``.svg`` or ``.pdf`` is of that format; any other is PNG.
        width: in inches.
        height: in inches.
        dpi: pixels per inch of a PNG.
    """
    # Imported here, because it is slow. Without pyplot, no global state changes.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stem, suffix = os.path.splitext(os.fspath(path))
    places = {name: f"{stem}.{name}" for name in FORMATS if suffix in (f".{PNG}", f".{name}")}
    # Overrides a user's matplotlibrc, since TeX would execute commands in names.
    # A fixed salt: the same figure gives the same SVG.
    with rc_context({"text.usetex": False, "svg.hashsalt": "lorary"}), warnings.catch_warnings():
        # A character that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(min(width, LONGEST_SIDE), min(height, LONGEST_SIDE)), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        contents = {}
        for name in places or {PNG: ""}:
            content = BytesIO()
            figure.savefig(content, format=name, dpi=dpi, metadata=_METADATA[name])
            contents[places.get(name, path)] = content.getvalue()
    for place, written in contents.items():
        write_whole(place, written)
