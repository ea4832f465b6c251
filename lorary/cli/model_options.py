"""The options that say which base model a command loads, and how experts are routed on it."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace

from lorary.cli.printing import show_status
from lorary.errors import LibraryError
from lorary.files import quote, shorten

if TYPE_CHECKING:
    from lorary.library import Library
    from lorary.models import BaseModel
    from lorary.routing import RouterConfig

DEFAULT_BASE = "smollm2-135m"


def add_base_options(parser: ArgumentParser, default: str | None = None) -> None:
    """Add the base model, its revision and its device.

    Args:
        parser: the command's.
        default: the base model if none is named; None means the one that the library's experts are for.
    """
    what = "" if default else "; the one the library's experts were trained on if not given"
    parser.add_argument(
        "--base",
        type=str | None,
        default=default,
        help=f"Base model: hub id, folder, or {DEFAULT_BASE} (embedded){what}",
    )
    parser.add_argument("--revision", type=str | None, help="Commit, branch or tag of a hub model")
    parser.add_argument(
        "--device", type=str | None, help="Where to run, such as cuda:1; a GPU if there is one"
    )


def add_router_options(parser: ArgumentParser, *, with_tasks: bool = False) -> None:
    """Add what configures each router that a command can use.

    Args:
        parser: the command's.
        with_tasks: whether it has tasks, from which some routers learn what they need.
    """
    from lorary.routing import ROUTERS, list_options

    for name in ROUTERS if with_tasks else list_ready_routers():
        if list_options(name):
            parser.add_class_arguments(ROUTERS[name].config, name)
    parser.add_argument(
        "--combine",
        type=Literal["factors", "outputs"] | None,
        help="What of a token's experts is put together: their factors before, or their outputs after "
        "(as it is if not given)",
    )


def list_ready_routers() -> list[str]:
    """List the routers that can be built from a library alone; the others need what only data can tell."""
    from lorary.facts import list_task_facts
    from lorary.routing import ROUTERS

    return [name for name in ROUTERS if not list_task_facts([name])]


def refuse_unused_options(options: Namespace, routers: Collection[str]) -> None:
    """Refuse options of a router that does not decide.

    Args:
        options: the command's.
        routers: those that do.

    Raises:
        ValueError: naming the router.
    """
    from lorary.routing import ROUTERS, configure_router

    for name, kind in ROUTERS.items():
        if (
            name not in routers
            and configure_router(name, vars(options.get(name, Namespace()))) != kind.config()
        ):
            raise ValueError(f"{quote(name)} has options here, but does not decide: say --router {name}")


def open_filled_library(url: str) -> "Library":
    """Open a library that must hold an expert.

    Raises:
        LibraryError: if there is no library, or it is empty.
    """
    from lorary.library import Library

    try:
        library = Library.open(url)
    except LibraryError as error:
        # Slow to import, and needed for this hint only.
        from lorary.assembly.folder_files import EXPERTS
        from lorary.assembly.saved_model import is_saved_model

        if is_saved_model(url):
            place = f"{url.rstrip('/')}/{EXPERTS}"
            raise LibraryError(
                f"{quote(url)} is a built model: its experts are the library {quote(place)}"
            ) from error
        raise
    if not len(library):
        raise LibraryError(
            f"library {quote(url)} is empty: train experts with `lorary train`, or add one with "
            "`lorary library add`"
        )
    return library


def load_options_base(options: Namespace, library: "Library | None" = None) -> "BaseModel":
    """Load the base model that the options name, or else the one of the library's experts.

    Raises:
        BaseModelError: if it cannot be loaded.
        ValueError: if the library's experts are to say it, but are for several base models.
    """
    from lorary.models import load_base

    device = find_device(options)
    name, revision = options.base, options.revision
    if name is None:
        assert library is not None
        name, own_revision = find_base(library)
        revision = revision or own_revision
    with show_status(f"loading base model {name} (the first time may take half a minute)"):
        return load_base(name, revision=revision, device=device)


def find_device(options: Namespace) -> str | None:
    """Give the device that the options name, once it is known to be there.

    Raises:
        ValueError: if it is not.
    """
    import torch

    if options.device is None:
        return None
    try:
        # A trial: "meta" and what PyTorch was built without are devices by their names, too.
        torch.zeros(1, device=options.device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            "--device must name a device of this machine, such as cpu or cuda:1, found "
            f"{quote(options.device)} ({shorten(' '.join(str(error).split()))})"
        ) from error
    return str(options.device)


def find_base(library: "Library") -> tuple[str, str | None]:
    """Find the base model, and its revision if known, that all experts of a library were trained on.

    Raises:
        ValueError: if there are several, or an expert does not say.
    """
    entries = library.entries()
    names = {entry.base_model for entry in entries}
    if len(names) > 1 or "" in names:
        found = ", ".join(quote(name, 60) for name in sorted(names)[:8])
        raise ValueError(
            f"the experts of library {quote(library.url)} must be for one base model, they are for {found}: "
            "say with --base which to load"
        )
    revisions = {entry.card.base_revision for entry in entries}
    return names.pop(), revisions.pop() if len(revisions) == 1 else None


def read_router_options(
    options: Namespace, router: str, names: Sequence[str], *, with_tasks: bool = False
) -> "RouterConfig":
    """Build a router's configuration, before anything is loaded.

    Args:
        options: the command's.
        router: a key of ``ROUTERS``.
        names: the experts that it will choose from.
        with_tasks: whether the command has tasks, from which some routers learn what they need.

    Raises:
        ValueError: if there is no such router, an option is out of range or does not suit the experts, or the
            router needs more than the command has.
        UnknownExpert: if an option names an expert that is not among them.
    """
    from lorary.facts import FACTS
    from lorary.routing import configure_router

    config = configure_router(router, vars(options.get(router, Namespace())))
    given = sorted(name for name in config.needs if FACTS[name].needs_tasks)
    if given and not with_tasks:
        raise ValueError(
            f"router {quote(router)} needs the {given[0]} of every expert, which only `lorary eval` and "
            f"`lorary report` find, from --tasks; in Python, {FACTS[given[0]].advice} and hand them to "
            f"load_model({given[0]}=...). "
            f"Here you can use {', '.join(list_ready_routers())}"
        )
    config.check(names)
    return config
