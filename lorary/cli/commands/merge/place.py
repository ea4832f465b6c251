"""The place of a merged expert: a name in the library, or a separate folder."""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage

from fsspec.core import url_to_fs

from lorary.errors import FormatError, LibraryError
from lorary.experts import Expert, check_name, write_peft
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.transforms import MergeRecipe

ADVICE = {
    errno.ENOSPC: "free some space, or lower --rank, and run the same command again",
    errno.EDQUOT: "free some of your disk quota, or lower --rank, and run the same command again",
}


@dataclass(frozen=True, kw_only=True)
class MergePlace:
    """The place of one expert."""

    name: str
    """The expert's name."""
    folder: str | None
    """Its folder or URL; None for the library."""


def parse_place(out: str) -> MergePlace:
    """Parse ``--out``: a folder if it has a slash or begins with a dot, else a name in the library.

    Raises:
        ValueError: if it is not a valid name for an expert.
    """
    if "/" not in out and not out.startswith("."):
        return MergePlace(name=check_name(out), folder=None)
    return MergePlace(name=check_name(out.rstrip("/").rsplit("/", 1)[-1]), folder=out)


def list_places(last: MergePlace | None, recipes: Sequence[MergeRecipe]) -> list[MergePlace | None]:
    """List the places of a recipe file's merges: ``--out`` for the last, beside it for the others.

    Raises:
        ValueError: if a merge before the last has no name.
    """
    places: list[MergePlace | None] = []
    for number, recipe in enumerate(recipes[:-1], 1):
        if recipe.name is None:
            raise ValueError(
                f"document {number} of the recipe file has no name, under which its result is stored: add "
                "the key name, as in name: first"
            )
        if last is None:
            places.append(None)
        elif last.folder is None:
            places.append(MergePlace(name=recipe.name, folder=None))
        else:
            parent = last.folder.rstrip("/").rpartition("/")[0]
            places.append(MergePlace(name=recipe.name, folder=f"{parent or '.'}/{recipe.name}"))
    return [*places, last]


def require_free(place: MergePlace, library: Library) -> None:
    """Refuse a place that is not free, before any work is done.

    Raises:
        LibraryError: if the library has an expert of this name.
        FormatError: if the folder exists.
    """
    if place.folder is None:
        if place.name in library:
            raise LibraryError(
                f"library {quote(library.url)} already has an expert {quote(place.name)}: choose another "
                "name, or add --replace"
            )
        return
    fs, path = url_to_fs(place.folder)
    if fs.exists(path):
        raise FormatError(
            f"{quote(place.folder)} already exists: choose another folder, or add --replace to replace the "
            "adapter in it"
        )


def store_expert(expert: Expert, place: MergePlace, library: Library) -> None:
    """Write an expert to its place, completely or not at all.

    Raises:
        LibraryError: if it cannot be written; the message has the reason and the present state.
    """
    if place.folder is None:
        library[place.name] = expert
        return
    try:
        write_peft(expert, place.folder)
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "choose another place")
        raise LibraryError(
            f"the merged expert cannot be written to {quote(place.folder)}: {error.strerror or error}; "
            f"nothing was written there, and the merge is lost: {advice}"
        ) from error


def require_room(place: MergePlace, library: Library, num_bytes: int) -> None:
    """Refuse a place without room for the merged expert, before it is merged.

    Args:
        place: the place.
        library: the library.
        num_bytes: about how many bytes the merged expert has.

    Raises:
        LibraryError: if the place cannot be written, or has too little space.
    """
    if place.folder is None:
        library.require_writable(num_bytes)
        return
    if "://" in place.folder:
        return
    above = next(parent for parent in (Path(place.folder).absolute()).parents if parent.is_dir())
    free = disk_usage(above).free
    if free < num_bytes:
        raise LibraryError(
            f"no space left for the merged expert in {quote(str(above))}: {say_count(num_bytes, 'byte')} are "
            f"needed, {free:,} are free: free some space, choose another folder, or lower --rank"
        )
    if not os.access(above, os.W_OK):
        raise LibraryError(f"not allowed to write to {quote(str(above))}: choose another folder for --out")
