"""Readers: a file for each kind of row, a table of all, and ``read_task``, which chooses a reader."""

from lorary.data.readers.formats import FORMATS, describe_formats, detect_format, find_format
from lorary.data.readers.read import read_task
from lorary.data.readers.row_format import RowFormat

__all__ = ["FORMATS", "RowFormat", "describe_formats", "detect_format", "find_format", "read_task"]
