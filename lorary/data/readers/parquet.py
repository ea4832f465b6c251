"""Parquet files, through ``pyarrow``, a batch of rows at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorary.data.readers.unpack import HARMLESS
from lorary.data.source import Record
from lorary.errors import DataError
from lorary.files import LIMITS, escape, open_regular, quote

MAGIC = b"PAR1"
# Rows per batch: few, because a long value of many rows is in the file once, but in memory once per row.
BATCH = 8
# Limits of the names and lists in a file's metadata.
MOST_BYTES = 16 * 10**6
MOST_VALUES = 300_000


def read_parquet(path: Path) -> Iterator[Record]:
    """Yield a file's rows as mappings of Python values by column.

    Raises:
        DataError: if the file cannot be read, is damaged, or unpacks to too much.
    """
    # Imported here, because it takes a third of a second and other files do not need it.
    import pyarrow
    from pyarrow import parquet

    try:
        with open_regular(path) as file:
            opened = parquet.ParquetFile(
                file, thrift_string_size_limit=MOST_BYTES, thrift_container_size_limit=MOST_VALUES
            )
            metadata = opened.metadata
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            # The size in the metadata may be too small, so the values that are read are counted, too.
            _refuse_bomb(sum(group.total_byte_size for group in groups), path)
            number = count = 0
            for batch in opened.iter_batches(batch_size=BATCH, use_threads=False):
                for row in batch.to_pylist():
                    number, count = number + 1, count + _measure(row)
                    _refuse_bomb(count, path)
                    yield Record(f"row {number}", row)
    # On damaged files, pyarrow raises errors of many types, including OSError and ValueError.
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        problem = escape(str(error), keep="", longest=200)
        raise DataError(f"{quote(str(path))} cannot be read as a Parquet file ({problem})") from error


def _refuse_bomb(num_bytes: int, path: Path) -> None:
    """Refuse a file whose unpacked size is far larger than the file."""
    if num_bytes > LIMITS["task_gb"].num_bytes:
        raise DataError(f"{quote(str(path))} is too large: {LIMITS['task_gb'].advice}")
    if num_bytes > HARMLESS and num_bytes > LIMITS["unpack_ratio"].value * path.stat().st_size:
        raise DataError(f"{quote(str(path))} unpacks to far more than it is: {LIMITS['unpack_ratio'].advice}")


def _measure(value: Any) -> int:
    """Return the total length of the texts in a value, roughly in bytes."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_measure, value.values()))
    return sum(map(_measure, value)) if isinstance(value, list) else 0
