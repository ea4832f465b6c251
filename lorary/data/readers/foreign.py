"""What is found in place of a task file: pointers, archives and web pages, each with what to do about it."""

from lorary.errors import DataError
from lorary.files import quote

# How a file begins -> what it is, and what to do.
FOREIGN = {
    b"version https://git-lfs.github.com/spec/": (
        "a Git LFS pointer, not the data itself",
        "fetch the data with git lfs pull, or download the file from the hub",
    ),
    b"PK\x03\x04": ("a zip archive (or a spreadsheet)", "unpack it, or save the table as CSV"),
    b"\x28\xb5\x2f\xfd": ("packed with zstd", "unpack it with unzstd, or pack it with gzip or xz"),
    b"BZh": ("packed with bzip2", "unpack it with bunzip2, or pack it with gzip or xz"),
    b"ARROW1": ("an Arrow file", "read its folder as hf:FOLDER, or save it as Parquet"),
    b"SQLite format 3\0": ("an SQLite database", "export the table as CSV"),
    b"<!doctype html": ("a web page", "download the data file that the page links to"),
    b"<html": ("a web page", "download the data file that the page links to"),
}
LONGEST = max(map(len, FOREIGN))


def refuse_foreign(start: bytes, name: str) -> None:
    """Refuse what begins like something other than a task file.

    Args:
        start: the file's first bytes, at least ``LONGEST`` of them if it has so many.
        name: its path, for errors.

    Raises:
        DataError: naming what it is and what to do.
    """
    opening = start.lstrip().lower()
    for magic, (kind, advice) in FOREIGN.items():
        if start.startswith(magic) or (magic.startswith(b"<") and opening.startswith(magic)):
            raise DataError(f"{quote(name)} is {kind}: {advice}")
