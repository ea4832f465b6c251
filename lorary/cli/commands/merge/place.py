"""Where a merged expert goes: into the library by a name, or into a folder of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from fsspec.core import url_to_fs

from lorary.errors import FormatError, LibraryError
from lorary.experts import Expert, check_name, write_peft
from lorary.files import quote
from lorary.library import Library
from lorary.transforms import MergeRecipe


@dataclass(frozen=True, kw_only=True)
class MergePlace:
    """A place for one expert."""

    name: str
    """The expert's name."""
    folder: str | None
    """Its folder or URL; None for the library."""


def find_place(out: str) -> MergePlace:
    """Understand ``--out``: with a slash or a dot in front it is a folder, else a name in the library.

    Raises:
        ValueError: if the name, or the folder's, is not fit for an expert.
    """
    if "/" not in out and not out.startswith("."):
        return MergePlace(name=check_name(out), folder=None)
    return MergePlace(name=check_name(out.rstrip("/").rsplit("/", 1)[-1]), folder=out)


def find_places(last: MergePlace | None, recipes: Sequence[MergeRecipe]) -> list[MergePlace | None]:
    """Say where the merges of a recipe file go: the last to ``--out``, others beside it by their own names.

    Raises:
        ValueError: if another than the last has no name.
    """
    places: list[MergePlace | None] = []
    for number, recipe in enumerate(recipes[:-1], 1):
        if last is None:
            places.append(None)
        elif recipe.name is None:
            raise ValueError(
                f"merge {number} of the recipe file must have a name: it says where the result goes"
            )
        elif last.folder is None:
            places.append(MergePlace(name=recipe.name, folder=None))
        else:
            parent = last.folder.rstrip("/").rpartition("/")[0]
            places.append(MergePlace(name=recipe.name, folder=f"{parent or '.'}/{recipe.name}"))
    return [*places, last]


def require_free(place: MergePlace, library: Library) -> None:
    """Refuse a place that is taken, before any work is done.

    Raises:
        LibraryError: if the library has an expert of that name.
        FormatError: if there is something at the folder.
    """
    if place.folder is None:
        if place.name in library:
            raise LibraryError(
                f"library {quote(library.url)} has an expert {quote(place.name)} already: choose another "
                "name, or --replace it"
            )
        return
    fs, path = url_to_fs(place.folder)
    if fs.exists(path):
        raise FormatError(
            f"there is something at {quote(place.folder)} already: choose another folder, or --replace the "
            "adapter in it"
        )


def store_expert(expert: Expert, place: MergePlace, library: Library) -> None:
    """Write an expert to its place, whole or not at all."""
    if place.folder is None:
        library[place.name] = expert
    else:
        write_peft(expert, place.folder)
