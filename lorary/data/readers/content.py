"""Reading the content of a message: text, or parts of text; images, sound and video are refused."""

from collections.abc import Mapping

from lorary.data.readers.row_format import Row, clean_text
from lorary.files import quote

# Columns of media that the texts of a row refer to.
MEDIA = ("image", "images", "video", "videos", "audio", "audios")
# Marks in a text at the places of such media.
MARKS = ("<image>", "<video>", "<audio>")


def refuse_media(row: Row) -> None:
    """Refuse a row with images, videos or sound.

    Raises:
        ValueError: naming the column.
    """
    for name in MEDIA:
        # Looking up a column counts as reading it, so absent ones are not looked up.
        if name in row and row[name] not in ("", [], {}):
            raise ValueError(
                f"field {name!r} must be empty, found {quote(row[name], 60)}: experts read text only"
            )


def read_content(content: object, *, may_be_empty: bool = False) -> str:
    """Read the content of a message: a text, or a list of parts that are texts.

    Args:
        content: the message's content; None if it has none.
        may_be_empty: whether the content may be empty.

    Returns:
        The text, stripped; the texts of several parts are joined by line ends.

    Raises:
        ValueError: if there is no text, or a part that is not text.
    """
    if isinstance(content, list | tuple):
        content = "\n".join(_read_part(part) for part in content)
    if may_be_empty and (content is None or (isinstance(content, str) and not content.strip())):
        return ""
    text = clean_text(content, "content")
    for mark in MARKS:
        if text.startswith(mark) or text.endswith(mark):
            raise ValueError(f"'content' must be text only, found the mark {mark!r} of other media")
    return text


def _read_part(part: object) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    text = part.get("text") if isinstance(part, Mapping) else None
    if kind not in (None, "text", "input_text", "output_text") or not isinstance(text, str):
        what = f"a part of type {quote(kind, 60)}" if kind else quote(part, 60)
        raise ValueError(f"'content' must be text only, found {what}")
    return text
