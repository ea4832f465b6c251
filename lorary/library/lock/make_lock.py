"""Describing a library by the hashes of its files."""

from collections.abc import Collection, Iterable
from importlib.metadata import PackageNotFoundError, version

from lorary.experts.folder import ADAPTER_FILES
from lorary.library import catalog
from lorary.library.artifacts import ARTIFACTS, TRAINED, list_needed
from lorary.library.library import Library
from lorary.library.lock.lock_file import Lock, LockedRouter
from lorary.library.storage.contract import Storage
from lorary.library.storage.opening import open_storage
from lorary.library.tuned import read_all_tuned

PACKAGES = ("lorary", "torch", "transformers")


def lock_library(url: str, names: Iterable[str] | None = None, *, router: LockedRouter | None = None) -> Lock:
    """Describe a library, or some of its experts. All files are read.

    Args:
        url: the library.
        names: the experts; None for all.
        router: the router that is used with it.

    Raises:
        LibraryError: if it cannot be read.
        UnknownExpert: if it has no expert of a name.
    """
    library = Library.open(url)
    entries = {entry.name: entry for entry in library.entries()}
    chosen = sorted(entries if names is None else names)
    for name in chosen:
        library[name]  # or UnknownExpert, with the nearest
    storage = open_storage(url)
    with storage.reading():
        tuned = read_all_tuned(storage)
        experts = {name: hash_expert(storage, name) for name in chosen}
        trained = hash_trained(storage, chosen)
    bases: dict[str, dict[str, str | None]] = {}
    recipes = {}
    for name in chosen:
        card = entries[name].card
        known = bases.setdefault(entries[name].base_model, {"revision": None, "fingerprint": None})
        known["revision"] = known["revision"] or card.base_revision
        known["fingerprint"] = known["fingerprint"] or card.base_fingerprint
        if "recipe" in card.provenance:
            recipes[name] = card.provenance["recipe"]
    return Lock(
        experts=experts,
        bases=bases,
        recipes=recipes,
        router=router,
        tuned=tuned,
        trained=trained,
        versions=list_versions(),
    )


def hash_expert(storage: Storage, name: str) -> dict[str, str]:
    """Hash the files of an expert: file -> SHA-256; empty if there is no such expert."""
    kinds = storage.list_kinds(name)
    return {
        file: storage.hash(f"{name}/{file}") for file in sorted(ADAPTER_FILES) if kinds.get(file) == "file"
    }


def hash_trained(storage: Storage, names: Collection[str]) -> dict[str, str]:
    """Hash the trained artifacts of some experts, which cannot be computed again: place -> SHA-256."""
    present = {
        *catalog.identify_experts(storage, list(names)).values(),
        *catalog.hash_weights(storage, list(names)).values(),
    }
    found = {}
    for algorithm in TRAINED:
        for path, kind in sorted(storage.walk(f"{ARTIFACTS}/{algorithm}").items()):
            needed = list_needed(storage, path) if kind == "file" else ()
            if needed and present.issuperset(needed):
                found[path.removeprefix(f"{ARTIFACTS}/")] = storage.hash(path)
    return found


def list_versions() -> dict[str, str]:
    """List the versions of the packages on which results depend."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
