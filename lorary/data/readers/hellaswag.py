"""HellaSwag: the beginning of a story and four endings, which continue its last sentence."""

from lorary.data.readers.row_format import Row, RowFormat, choose, take_index, take_text, take_texts
from lorary.data.task import Example


def read_hellaswag(row: Row) -> Example:
    """Read a context with its endings, which go on where it stops: no cue stands between."""
    endings = take_texts(row, "endings")
    return choose(_read_context(row), endings, take_index(row, "label", len(endings)), cue="")


def _read_context(row: Row) -> str:
    if "ctx" in row:
        return take_text(row, "ctx")
    begun = row.get("ctx_b", "")
    return " ".join(part for part in (take_text(row, "ctx_a"), str(begun).strip()) if part)


HELLASWAG = RowFormat(
    keys="ctx | ctx_a, ctx_b; endings, label",
    matches=lambda row: "endings" in row and ("ctx" in row or "ctx_a" in row),
    read=read_hellaswag,
)
