"""HellaSwag: the beginning of a story and four endings, which continue its last sentence."""

from lorary.data.readers.row_format import (
    Row,
    RowFormat,
    choose,
    clean_text,
    take_index,
    take_text,
    take_texts,
)
from lorary.data.task import Example


def read_hellaswag(row: Row) -> Example:
    """Read a context with its endings, which continue it directly, without a cue."""
    endings = take_texts(row, "endings")
    return choose(_read_context(row), endings, take_index(row, "label", len(endings)), cue="")


def _read_context(row: Row) -> str:
    if "ctx" in row:
        return take_text(row, "ctx")
    begun = row.get("ctx_b")
    # In rows without a second sentence, ctx_b is missing or empty.
    is_text = begun is not None and begun != ""
    return " ".join([take_text(row, "ctx_a"), *([clean_text(begun, "ctx_b")] if is_text else [])])


HELLASWAG = RowFormat(
    keys="ctx | ctx_a, ctx_b; endings, label",
    meaning="the context is the prompt, the ending at label (from 0) continues it, one of the endings",
    example={"ctx": "He sat. he", "endings": ["ran.", "rose."], "label": "1"},
    matches=lambda row: "endings" in row and ("ctx" in row or "ctx_a" in row),
    read=read_hellaswag,
)
