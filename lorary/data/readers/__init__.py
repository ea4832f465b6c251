"""Readers: one file per kind of row, one dict of them all, and ``read_task``, which chooses."""

from lorary.data.readers.formats import FORMATS, describe_formats, detect_format, find_format
from lorary.data.readers.read import read_task
from lorary.data.readers.row_format import RowFormat

__all__ = ["FORMATS", "RowFormat", "describe_formats", "detect_format", "find_format", "read_task"]
