"""Split a data set of many tasks into a file per task and split.

Rows are copied unchanged. The folder is written completely or not at
all.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.keep_places import KeepPlaces

EXAMPLE = "lorary data split hf:sordonia/flan-10k-flat --by task_name --split-by split --out flan"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the data set, the columns and the folder."""
    parser.add_argument("place", help="A file of rows, or hf:owner/name[:config][#split]")
    parser.add_argument("--by", required=True, metavar="COLUMN", help="Column with the name of a row's task")
    parser.add_argument(
        "--split-by",
        type=str | None,
        metavar="COLUMN",
        help="Column with train, validation or test, if there is one",
    )
    parser.add_argument("--without", action=KeepPlaces, nargs="+", metavar="TASK", help="Tasks to leave out")
    parser.add_argument("--max-rows", type=int | None, help="Keep at most this many rows of each file")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="Folder for the files")
