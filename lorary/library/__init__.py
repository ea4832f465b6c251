"""The ``Library``: a mapping from names to experts, stored in a folder at a URL.

Each expert is a plain PEFT adapter folder, ``<library>/<name>/``, which PEFT and vLLM can load. Beside them
are ``library.json``, which marks the folder as a library, and ``.lorary/``, with locks, changes in progress,
and artifacts (tensors computed from experts). A change is made completely or not at all. Several processes
may read and change a library at the same time.
"""

from lorary.library.library import Library

__all__ = [
    "Library",
]
