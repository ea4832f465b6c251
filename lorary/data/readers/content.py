"""What a message says: text, or parts of text; what is no text is refused by name."""

from collections.abc import Mapping

from lorary.data.readers.row_format import Row, clean_text
from lorary.files import quote

# Columns that hold, or name, what the texts of a row speak of.
MEDIA = ("image", "images", "video", "videos", "audio", "audios")
# What stands in a text where such a thing belongs.
MARKS = ("<image>", "<video>", "<audio>")


def refuse_media(row: Row) -> None:
    """Refuse a row that cannot be understood without pictures, films or sounds.

    Raises:
        ValueError: naming the column.
    """
    for name in MEDIA:
        # Columns are listed as unused only where they are not looked at.
        if name in row and row[name] not in ("", [], {}):
            raise ValueError(f"field {name!r} holds {quote(row[name], 60)}: lorary's experts read text only")


def read_content(content: object, *, may_be_empty: bool = False) -> str:
    """Read the content of a message: a text, or a list of parts that are texts.

    Args:
        content: what stands in the message; None for nothing.
        may_be_empty: whether there may be nothing.

    Returns:
        The text, stripped; the texts of several parts stand on lines of their own.

    Raises:
        ValueError: if there is no text, or something that is no text.
    """
    if isinstance(content, list | tuple):
        content = "\n".join(_read_part(part) for part in content)
    if may_be_empty and (content is None or (isinstance(content, str) and not content.strip())):
        return ""
    text = clean_text(content, "content")
    for mark in MARKS:
        if text.startswith(mark) or text.endswith(mark):
            raise ValueError(f"'content' has {mark!r} for something that is no text: experts read text only")
    return text


def _read_part(part: object) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    text = part.get("text") if isinstance(part, Mapping) else None
    if kind not in (None, "text", "input_text", "output_text") or not isinstance(text, str):
        what = f"a part of type {quote(kind, 60)}" if kind else quote(part, 60)
        raise ValueError(f"'content' has {what}: lorary's experts read text only")
    return text
