"""Untrusted text in a Markdown page: shown as it is, never interpreted."""

import re

from lorary.files.quoting import escape

# Characters that Markdown, its tables, mathematics and inline HTML interpret anywhere.
_ACTIVE = re.compile(r"[\\`*_\[\]<>&|~!#$^{}@]")
# Text that becomes a link or a picture without brackets.
_LINKED = re.compile(r":(?=\S)|(?<=www)\.", re.IGNORECASE)
# Beginnings of a text that make it a list, a heading or a line.
_OPENING = re.compile(r"^([-+=]|\d+(?=[.)]))")


def escape_markdown(text: str) -> str:
    """Write a text as one line of Markdown that shows exactly this text, also in a table or a heading.

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
    """Write a text as a block of code that no part of the text can end.

    Args:
        text: any text; control and invisible characters in it become escapes.
        language: the language for highlighting, which must be trusted.
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}{language}\n{escape(text)}\n{marks}\n"


def _disarm(opening: str) -> str:
    # A digit cannot be escaped; as a character reference it does not start a list.
    return f"&#{ord(opening[0])};{opening[1:]}" if opening[0].isdecimal() else f"\\{opening}"
