"""Where experts live: a ``Library`` is a mapping from names to experts, kept in a folder at a URL.

Each expert is a plain PEFT adapter folder, ``<library>/<name>/``, that PEFT and vLLM load as it is. Beside
them are ``library.json``, which makes the folder a library, and ``.lorary/``: locks, changes being made, and
artifacts, the tensors that were derived from experts. A change happens entirely or not at all; several
processes may read and change a library at once.
"""

from lorary.library.entry import Entry
from lorary.library.key import Key
from lorary.library.library import Library

__all__ = [
    "Entry",
    "Key",
    "Library",
]
