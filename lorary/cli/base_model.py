"""Load the base model that the options name, or else the one that the library's experts were trained on."""

import torch
from jsonargparse import Namespace

from lorary.cli.console import show_status
from lorary.experts import BaseIdentity
from lorary.experts.base_names import agree_on_revision
from lorary.files import quote, shorten
from lorary.library import Library
from lorary.models import BaseModel, load_base


def load_options_base(options: Namespace, library: Library | None = None) -> BaseModel:
    """Load the base model that the options name, or else the one of the library's experts.

    Raises:
        BaseModelError: if it cannot be loaded.
        ValueError: if the library's experts are to say it, but are for several base models.
    """
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


def find_base(library: Library) -> tuple[str, str | None]:
    """Find the base model, and its revision if known, that all experts of a library were trained on.

    Raises:
        ValueError: if there are several, or an expert does not say.
        IncompatibleExpert: if they are for different revisions.
    """
    entries = library.entries()
    names = {entry.base_model for entry in entries}
    if len(names) > 1 or "" in names:
        found = ", ".join(quote(name, 60) for name in sorted(names)[:8])
        raise ValueError(
            f"the experts of library {quote(library.url)} must be for one base model, they are for {found}: "
            "say with --base which to load"
        )
    bases = {
        entry.name: BaseIdentity(entry.base_model, entry.card.base_fingerprint, entry.card.base_revision)
        for entry in entries
    }
    return names.pop(), agree_on_revision(bases)
