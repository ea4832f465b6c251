"""Writing a picture by matplotlib as a PNG or SVG file; its labels may have any text."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

# Without pyplot, no global state changes.
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lorary.files import write_whole

# Inches; matplotlib writes PNG files of at most 65,536 pixels.
LONGEST_SIDE = 200
_NO_DATE = {"Date": None}


@contextmanager
def open_picture(path: str | os.PathLike[str], width: float, height: float, *, dpi: int) -> Iterator[Figure]:
    """Within this context, draw a figure; at the end it is written, completely or not at all.

    Args:
        path: the picture's path; it is SVG if it ends in ``.svg``, else PNG.
        width: in inches.
        height: in inches.
        dpi: pixels per inch of a PNG.
    """
    is_svg = os.fspath(path).endswith(".svg")
    # Overrides a user's matplotlibrc, since TeX would execute commands in names.
    # A fixed salt and no date: the same figure gives the same SVG.
    with rc_context({"text.usetex": False, "svg.hashsalt": "lorary"}), warnings.catch_warnings():
        # A character that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(min(width, LONGEST_SIDE), min(height, LONGEST_SIDE)), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        content = BytesIO()
        figure.savefig(
            content, format="svg" if is_svg else "png", dpi=dpi, metadata=_NO_DATE if is_svg else {}
        )
    write_whole(path, content.getvalue())
