"""Experts of a library that build on a general expert: finding it, and protecting it and its role.

Small files are searched for the hash before they are parsed: a library may have thousands.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

from lorary.errors import FormatError, LibraryError, LoraryError
from lorary.experts import Expert
from lorary.experts.card import shorten_hash
from lorary.experts.on_top import hash_weights
from lorary.experts.roles import GENERAL
from lorary.experts.sidecar import SIDECAR_FILE
from lorary.files import parse_json_object, quote, say_count
from lorary.library import catalog
from lorary.library.storage.contract import Storage
from lorary.library.verify import Problem

MOST_NAMED = 3


def find_by_hash(storage: Storage, on_top_of: str, read: Callable[[str], Expert]) -> str | None:
    """Find the expert whose weights have a hash, of copies the one with the role ``"general"``.

    Args:
        storage: the library's storage.
        on_top_of: the hash.
        read: reads an expert, for adapters that were copied in by hand and have no stored hash.
    """
    names = catalog.list_experts(storage)
    sidecars = catalog.read_sidecars(storage, names)
    same = {
        name: values
        for name, values in _search(sidecars, on_top_of)
        if values.get("weights_sha256") == on_top_of and values.get("on_top_of") is None
    }
    if same:
        return min(same, key=lambda name: (same[name].get("role") != GENERAL, name))
    for name in names:
        with suppress(LoraryError):
            if name not in sidecars and hash_weights(read(name)) == on_top_of:
                return name
    return None


def find_missing_general(storage: Storage, name: str, read: Callable[[str], Expert]) -> list[Problem]:
    """Return the problem of an expert that builds on a general expert which the library lacks; or none."""
    content = catalog.read_sidecars(storage, [name]).get(name, b"")
    weights = dict(_search({name: content}, "on_top_of")).get(name, {}).get("on_top_of")
    if not isinstance(weights, str) or find_by_hash(storage, weights, read) is not None:
        return []
    message = (
        f"builds on a general expert (weights {shorten_hash(weights)}) that the library lacks: add it, with "
        "the role 'general' in its card, or remove this expert"
    )
    return [Problem(expert=name, file=SIDECAR_FILE, message=message)]


def refuse_standing(storage: Storage, going: Collection[str], coming: Collection[str] = ()) -> None:
    """Refuse to remove experts that others build on.

    Args:
        storage: the library's storage.
        going: names of the experts that are removed or replaced.
        coming: hashes of the weights of those that take their places.

    Raises:
        LibraryError: naming the first of them, and those that build on it.
    """
    sidecars = _read_readable(storage, catalog.list_experts(storage))
    for name, standing in _list_standing(sidecars, going, coming):
        raise LibraryError(
            f"expert {quote(name)} of library {quote(storage.url)} must stay unchanged, because "
            f"{_say_standing(standing)}: remove these first or together with it, or store what replaces it "
            "under another name"
        )


def refuse_other_role(storage: Storage, name: str, role: str) -> None:
    """Refuse to give a general expert that others build on another role.

    Raises:
        LibraryError: naming those that build on it.
    """
    sidecars = _read_readable(storage, catalog.list_experts(storage))
    values = dict(_search({name: sidecars.get(name, b"")}, GENERAL)).get(name, {})
    if role == GENERAL or values.get("role") != GENERAL:
        return
    for _, standing in _list_standing(sidecars, [name]):
        raise LibraryError(
            f"expert {quote(name)} of library {quote(storage.url)} must keep the role {GENERAL}, because "
            f"{_say_standing(standing)}, found the new role {role}: remove these first, or tag a "
            "copy of it"
        )


def _list_standing(
    sidecars: dict[str, bytes], going: Collection[str], coming: Collection[str] = ()
) -> Iterator[tuple[str, list[str]]]:
    """Yield each of some experts that others build on, and these; not if another has the same weights."""
    for name in going:
        if (weights := _find_hash(sidecars.get(name, b""), name)) is None or weights in coming:
            continue
        found = {other: values for other, values in _search(sidecars, weights) if other not in going}
        standing = [other for other, values in found.items() if values.get("on_top_of") == weights]
        if standing and all(values.get("weights_sha256") != weights for values in found.values()):
            yield name, standing


def _say_standing(standing: Sequence[str]) -> str:
    count = len(standing)
    shown = ", ".join(map(quote, standing[:MOST_NAMED])) + (", …" if count > MOST_NAMED else "")
    return f"{say_count(count, 'expert')} {'builds' if count == 1 else 'build'} on it ({shown})"


def _read_readable(storage: Storage, names: Sequence[str]) -> dict[str, bytes]:
    """Return the sidecars; without those that cannot be read, such as links: such experts can be removed."""
    with suppress(LibraryError):
        return catalog.read_sidecars(storage, names)
    found: dict[str, bytes] = {}
    for name in names:
        with suppress(LibraryError):
            found |= catalog.read_sidecars(storage, [name])
    return found


def _find_hash(content: bytes, name: str) -> str | None:
    weights = dict(_search({name: content}, "weights_sha256")).get(name, {}).get("weights_sha256")
    return weights if isinstance(weights, str) else None


def _search(sidecars: dict[str, bytes], text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the parsed sidecars that contain a text; invalid ones, which ``verify`` reports, are left out."""
    for name, content in sidecars.items():
        if text.encode() in content:
            with suppress(FormatError):
                yield name, parse_json_object(content, f"{name}/{SIDECAR_FILE}")
