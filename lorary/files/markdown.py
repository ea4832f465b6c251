"""Texts from outside within a Markdown page: shown as they are, never acted on."""

import re

from lorary.files.quoting import escape

# What Markdown, its tables, mathematics and inline HTML act on wherever it stands.
_ACTIVE = re.compile(r"[\\`*_\[\]<>&|~!#$^{}@]")
# What is made a link or a picture without any brackets.
_LINKED = re.compile(r":(?=\S)|(?<=www)\.", re.IGNORECASE)
# What makes a list, a heading or a line of a text that begins with it.
_OPENING = re.compile(r"^([-+=]|\d+(?=[.)]))")


def escape_markdown(text: str) -> str:
    """Write a text as one line of Markdown that shows just that text, also in a table, a heading or a list.

    Line breaks and other runs of space become one space; control and invisible characters become escapes
    such as ``\\x1b``.

    Args:
        text: any text.

    Returns:
        One line; empty if there is nothing to show.
    """
    line = escape(" ".join(text.split()), keep="")
    line = _LINKED.sub(lambda found: f"\\{found[0]}", _ACTIVE.sub(lambda found: f"\\{found[0]}", line))
    return _OPENING.sub(lambda found: _disarm(found[0]), line)


def fence(text: str, language: str = "") -> str:
    """Write a text as a block of code that nothing in the text can end.

    Args:
        text: any text; control and invisible characters in it become escapes.
        language: what it is written in, one of our own words.
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}{language}\n{escape(text)}\n{marks}\n"


def _disarm(opening: str) -> str:
    # A digit cannot be escaped; as a character reference it opens no list.
    return f"&#{ord(opening[0])};{opening[1:]}" if opening[0].isdecimal() else f"\\{opening}"
