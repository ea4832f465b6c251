"""Recognising files that are not task files, such as archives and web pages, with advice for each."""

from lorary.errors import DataError
from lorary.files import quote

# First bytes of a file -> its kind, and advice.
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
    """Refuse a file whose first bytes show that it is not a task file.

    Args:
        start: the file's first bytes, at least ``LONGEST`` if it has so many.
        name: its path, for messages.

    Raises:
        DataError: if it is one of the kinds in ``FOREIGN``; the message has the kind and the advice.
    """
    opening = start.lstrip().lower()
    for magic, (kind, advice) in FOREIGN.items():
        if start.startswith(magic) or (magic.startswith(b"<") and opening.startswith(magic)):
            raise DataError(f"{quote(name)} is {kind}: {advice}")
