"""Load the base model of ``--base``, or the one that the library's experts were trained on."""

from collections import Counter
from collections.abc import Mapping
from itertools import combinations

import torch
from jsonargparse import Namespace

from lorary.cli.base_options import DEFAULT_BASE
from lorary.cli.console import show_status
from lorary.errors import LibraryError
from lorary.experts import BaseIdentity, Expert, is_same_base
from lorary.experts.base_identity import read_identity
from lorary.experts.base_revisions import agree_on_revision
from lorary.experts.expert import identify_base
from lorary.files import quote
from lorary.library import Library
from lorary.library.view import LibraryView
from lorary.models import BaseModel, load_base
from lorary.models.check_base import check_base
from lorary.models.device import choose_device


def load_options_base(
    options: Namespace, library: Library | LibraryView | None = None, dtype: torch.dtype | None = None
) -> BaseModel:
    """Load the base model of ``--base``, or without it the one that the library's experts were trained on.

    Args:
        options: the command's options.
        library: the library.
        dtype: of the weights if ``--dtype`` is not given; None for the device's, see ``load_base``.

    Raises:
        BaseModelError: if it cannot be loaded.
        ValueError: if ``--base`` is missing and the library's experts are for several base models.
    """
    device = read_device(options)
    name, revision = options.base, options.revision
    if name is None:
        assert library is not None
        name, own_revision = find_base(library)
        revision = revision or own_revision
    with show_status(f"loading base model {name} (the first time may take half a minute)"):
        return load_base(
            name,
            revision=revision,
            dtype=read_dtype(options) or dtype,
            device=device,
            quantization=options.quantize,
        )


def load_training_base(options: Namespace) -> BaseModel:
    """Load the base model of ``--base``, or without it the one of the library's experts.

    For a library that does not exist yet, or has no experts, it is the embedded model.

    Raises:
        BaseModelError: if it cannot be loaded.
        ValueError: if ``--base`` is missing and the library's experts are for several base models.
    """
    try:
        library = Library.open(options.library)
    except LibraryError:
        library = None  # made later, or refused with the reason
    if library is None or not len(library):
        options = Namespace(**{**vars(options), "base": options.base or DEFAULT_BASE})
    return load_options_base(options, library)


def read_device(options: Namespace) -> str | None:
    """Return the device of ``--device`` after a small computation on it; None if the option is not given.

    Raises:
        ValueError: if this machine has no such device.
    """
    if options.device is None:
        return None
    try:
        return str(choose_device(options.device))
    except ValueError as error:
        raise ValueError(f"--{error}") from error


def read_dtype(options: Namespace) -> torch.dtype | None:
    """Return the dtype of ``--dtype``; None if the option is not given."""
    return None if options.dtype is None else getattr(torch, options.dtype)


def find_base(library: Library | LibraryView) -> tuple[str, str | None]:
    """Find the base model, and its revision if known, that all experts of a library were trained on.

    Raises:
        ValueError: if there are several, or an expert names none.
        IncompatibleExpert: if the experts are for different revisions.
    """
    bases = {
        entry.name: read_identity(entry.base_model, entry.card.base_fingerprint, entry.card.base_revision)
        for entry in library.entries()
    }
    names = Counter(base.name for base in bases.values())
    pairs = combinations([BaseIdentity(name) for name in names], 2)
    if "" in names or not all(is_same_base(one, other) for one, other in pairs):
        found = ", ".join(quote(name, 60) for name in sorted(names)[:8])
        raise ValueError(
            f"the experts of library {quote(library.url)} must be for one base model, found {found}: "
            "choose the base model with --base, or add --trust-base if they are the same model"
        )
    # Of several names of one model, the most frequent one.
    return names.most_common(1)[0][0], agree_on_revision(bases)


def load_experts_base(experts: Mapping[str, Expert], device: str | None) -> BaseModel:
    """Load the base model that the first of some experts names, and check that all are for it.

    Raises:
        BaseModelError: if it cannot be loaded.
        IncompatibleExpert: if an expert is for another one, or another revision.
    """
    name = next(iter(experts.values())).base_model
    revision = agree_on_revision({own: identify_base(expert) for own, expert in experts.items()})
    with show_status(f"loading base model {name}"):
        base = load_base(name, revision=revision, device=device)
    for expert in experts.values():
        check_base(base, expert)
    return base
