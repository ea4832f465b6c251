"""A picture by matplotlib as a PNG file, whatever stands in its labels."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

# Without pyplot nothing global is touched.
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lorary.files import write_whole

# Inches; PNG files of matplotlib end at 65,536 pixels.
LONGEST_SIDE = 200


@contextmanager
def open_picture(path: str | os.PathLike[str], width: float, height: float, *, dpi: int) -> Iterator[Figure]:
    """Within this context draw a figure; at the end it is written, whole or not at all.

    Args:
        path: where to write it.
        width: in inches.
        height: in inches.
        dpi: pixels per inch.
    """
    # Whatever a user's matplotlibrc says: TeX would run what stands in a name.
    with rc_context({"text.usetex": False}), warnings.catch_warnings():
        # A character that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(min(width, LONGEST_SIDE), min(height, LONGEST_SIDE)), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        content = BytesIO()
        figure.savefig(content, format="png", dpi=dpi)
    write_whole(path, content.getvalue())
