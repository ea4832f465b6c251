"""Reading JSON value by value, so that a list of a million rows is never in memory completely."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from lorary.data.readers.unpack import CHUNK
from lorary.files import LIMITS, escape, quote

NO_SPACE = re.compile(r"[^ \t\n\r]")
_decode = json.JSONDecoder().raw_decode


class JsonStream:
    """A position in JSON text, which is read from a file as needed.

    Args:
        file: the file, with UTF-8 text.

    Raises:
        ValueError: from all methods, if the text is not UTF-8 or not JSON; the message has the fault and its
            place.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._dropped = 0
        self._ended = False
        self.num_bytes = 0
        """Number of bytes read so far."""

    def peek(self) -> str:
        """Return the next character that is not white space, without consuming it; ``''`` at the end."""
        while True:
            found = NO_SPACE.search(self._text, self._at)
            if found:
                self._at = found.start()
                return found[0]
            self._at = len(self._text)
            if not self._read(CHUNK):
                return ""

    def take(self, expected: str) -> None:
        """Consume the next character, which must be the expected one."""
        if self.peek() != expected:
            raise ValueError(f"{expected!r} is expected {self._place()}")
        self._at += 1

    def read_value(self) -> object:
        """Read one value of any kind, of limited length."""
        self.peek()
        most = LIMITS["row_mb"].num_bytes
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except json.JSONDecodeError as error:
                problem, fault, end = error.msg, self._dropped + error.pos, len(self._text)
            except (ValueError, RecursionError) as error:
                problem, end = str(error) or type(error).__name__, len(self._text)
                fault = self._dropped + self._at
            else:
                problem, fault = "", 0
            # A value that ends where the text read so far ends, such as a number, may continue. Four times as
            # much is read each time, so that all tries together take little longer than the last.
            length = len(self._text) - self._at
            more = min(max(CHUNK, 3 * length), most + 1 - length)
            if end == len(self._text) and more > 0 and self._read(more):
                continue
            if end - self._at > most:
                raise ValueError(f"a value is too long {self._place()}: {LIMITS['row_mb'].advice}")
            if problem:
                raise ValueError(f"{escape(problem, keep='', longest=200)} {self._place(fault)}")
            self._at = end
            return value

    def read_items(self) -> Iterator[object]:
        """Yield the values of a list one by one."""
        self.take("[")
        if self.peek() != "]":
            yield self.read_value()
            while self.peek() != "]":
                self.take(",")
                yield self.read_value()
        self.take("]")

    def read_keys(self) -> Iterator[str]:
        """Yield the keys of an object one by one; the caller must read each value before the next key."""
        self.take("{")
        if self.peek() != "}":
            yield self._read_key()
            while self.peek() != "}":
                self.take(",")
                yield self._read_key()
        self.take("}")

    def finish(self) -> None:
        """Check that only white space follows."""
        if self.peek():
            raise ValueError(f"more follows {self._place()}")

    def _read_key(self) -> str:
        key = self.read_value() if self.peek() == '"' else None
        if not isinstance(key, str):
            raise ValueError(f"a key is expected {self._place()}")
        self.take(":")
        return key

    def _place(self, character: int | None = None) -> str:
        """Describe the place of a character (or the current one), counted from the beginning of the text."""
        at = self._at if character is None else character - self._dropped
        near = self._text[at : at + 20].rstrip()
        where = f"at character {self._dropped + at + 1:,}"
        return f"{where}, near {quote(near)}" if near else f"{where}, where the text ends"

    def _read(self, size: int) -> bool:
        """Read more text, and drop consumed text; return whether there was more."""
        if self._ended:
            return False
        content = self._file.read(size)
        self._ended = not content
        self.num_bytes += len(content)
        more = self._decoder.decode(content, final=self._ended)
        self._text, self._dropped, self._at = self._text[self._at :] + more, self._dropped + self._at, 0
        return not self._ended
