"""Checks of experts' names, which must be valid as names of folders on all systems and storages."""

import re
import unicodedata

from lorary.files import quote

MAX_NAME_BYTES = 128
# Separators, and characters with a meaning in file systems or fsspec's patterns: removing 'a*' must not
# remove 'ab'.
FORBIDDEN = '/\\*?[]<>:"|'
# Names of devices on Windows, which it opens instead of files of these names, with any suffix.
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
# Invisible letters, marks and symbols: fillers, variation selectors, an empty Braille cell.
BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def check_name(name: str, *, is_stored: bool = False) -> str:
    """Check that a name is safe as the name of a folder, and return it.

    Args:
        name: an expert's name, such as ``"poetry"`` or ``"arc easy v1.2"``.
        is_stored: whether it is the name of an expert that is stored already. Then names that earlier
            versions allowed, such as a device's name, are allowed too, so that old libraries open; the
            library's ``rename`` corrects them.

    Returns:
        The same name.

    Raises:
        TypeError: if it is not a string.
        ValueError: if it is empty, longer than 128 bytes, begins with ``.``, ``_``, ``-`` or a combining
            mark, ends with ``.``, begins or ends with a space, is the name of a device on Windows, or has a
            separator, a wildcard or an invisible character.
    """
    if not isinstance(name, str):
        raise TypeError(f"an expert's name must be a string, found {type(name).__name__} {quote(name, 60)}")
    fault = _find_fault(name) or (None if is_stored else _find_fault_of_new(name))
    if fault:
        raise ValueError(f"an expert's name must not {fault}, found {quote(name)}: choose another name")
    return name


def fold_name(name: str) -> str:
    """Return a key that is equal for names which are the same on some file systems.

    Such names differ only in case, or in the Unicode form of accents (composed or decomposed).
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _find_fault(name: str) -> str | None:
    if not name:
        return "be empty"
    if not name.isprintable() or BLANK.search(name):
        return "have control or invisible characters"  # also surrogates, which cannot be encoded
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"be longer than {MAX_NAME_BYTES} bytes"
    if name[0] in "._-":
        return f"begin with {name[0]!r}"
    if name != name.strip():
        return "begin or end with a space"
    found = sorted({character for character in name if character in FORBIDDEN})
    return "have " + " or ".join(repr(character) for character in found) if found else None


def _find_fault_of_new(name: str) -> str | None:
    if unicodedata.category(name[0]).startswith("M"):
        return "begin with a combining mark"
    if name.endswith("."):
        return "end with '.'"
    return "be that of a device on Windows" if DEVICES.fullmatch(name) else None
