"""Hash a library's files, and write the lock file."""

from dataclasses import asdict

from jsonargparse import Namespace

from lorary.assembly.folder_files import EXPERTS
from lorary.assembly.saved_model import is_saved_model, read_saved_model
from lorary.cli.console import print_next, show_status
from lorary.cli.default_router import choose_default_router
from lorary.cli.filled_library import open_filled_library
from lorary.cli.printing import print_json, print_line
from lorary.cli.router_configs import read_router_options, refuse_unused_options
from lorary.cli.tuned_options import use_tuned
from lorary.files import say_count
from lorary.library.lock import Lock, LockedRouter, lock_library, write_lock
from lorary.library.view import LibraryView


def run(options: Namespace) -> int:
    """Check the options, write the lock file, and print what it has."""
    is_built = is_saved_model(options.library)
    place = f"{options.library}/{EXPERTS}" if is_built else options.library
    experts = open_filled_library(place).routed()
    router = (
        find_own_router(options) if is_built and options.router is None else choose_router(options, experts)
    )
    with show_status(f"hashing the files of {options.library}"):
        lock = lock_library(place, router=router)
    write_lock(lock, options.out)
    if options.json:
        print_json(asdict(lock))
    else:
        report(lock, options, place)
    return 0


def find_own_router(options: Namespace) -> LockedRouter | None:
    """Return the router of a built model."""
    refuse_unused_options(options, [])
    saved = read_saved_model(options.library)
    if saved.router is None:
        return None
    return LockedRouter(name=saved.router, options=dict(saved.options), combine=saved.combine)


def choose_router(options: Namespace, experts: LibraryView) -> LockedRouter | None:
    """Return the router of the options, or the default one, with all of its options.

    Raises:
        ValueError: if there is no such router, or an option is invalid.
    """
    name = options.router or (choose_default_router(experts) if experts else "none")
    refuse_unused_options(options, [] if name == "none" else [name])
    if name == "none":
        return None
    config = use_tuned(read_router_options(options, name, list(experts)), name, experts, options)
    return LockedRouter(name=name, options=asdict(config), combine=options.combine or "outputs")


def report(lock: Lock, options: Namespace, place: str) -> None:
    """Print what the lock file has, and how to use it."""
    router = "no router" if lock.router is None else f"router {lock.router.name}"
    bases = ", ".join(lock.bases)
    print_line(f"locked {say_count(len(lock.experts), 'expert')} of {bases} and {router} in {options.out}")
    print_next("lorary", "sync", str(options.out), "--sources", place, "--out", "NEW_LIBRARY")
