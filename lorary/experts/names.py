"""Which names an expert may have: each is also a folder's name, on any storage."""

MAX_NAME_BYTES = 128
# Separators, and what file systems or fsspec's patterns give a meaning: removing 'a*' must not remove 'ab'.
FORBIDDEN = '/\\*?[]<>:"|'


def check_name(name: str) -> str:
    """Return a name unchanged if it is safe as a folder's name, and refuse it otherwise.

    Args:
        name: an expert's name, such as ``"poetry"`` or ``"arc easy v1.2"``.

    Returns:
        The same name.

    Raises:
        TypeError: if it is not a string.
        ValueError: if it is empty, longer than 128 bytes, begins with ``.``, ``_`` or ``-``, begins or
            ends with a space, or holds a separator, a wildcard or a character that cannot be printed.
    """
    if not isinstance(name, str):
        raise TypeError(f"an expert's name must be a string, not {type(name).__name__} {name!r}")
    fault = _find_fault(name)
    if fault:
        raise ValueError(f"an expert's name must not {fault}, got {name!r}: choose another name")
    return name


def _find_fault(name: str) -> str | None:
    if not name:
        return "be empty"
    if name[0] in "._-":
        return f"begin with {name[0]!r}"
    if name != name.strip():
        return "begin or end with a space"
    found = sorted({character for character in name if character in FORBIDDEN})
    if found:
        return "hold " + " or ".join(repr(character) for character in found)
    if not name.isprintable():
        return "hold control or invisible characters"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"be longer than {MAX_NAME_BYTES} bytes"
    return None
