"""Load the model of ``lorary generate``: a built one, or a base model with the experts of a library."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from jsonargparse import Namespace

from lorary.assembly import RoutedModel, load_model
from lorary.assembly.folder_files import EXPERTS
from lorary.assembly.saved_model import is_saved_model, read_saved_model
from lorary.cli.bars import show_work
from lorary.cli.base_model import load_options_base, read_device, read_dtype
from lorary.cli.default_router import choose_default_router
from lorary.cli.filled_library import choose_routed, look_routed, open_filled_library
from lorary.cli.router_configs import read_router_options, refuse_unused_options
from lorary.cli.skill_options import is_for_task
from lorary.cli.tuned_options import use_tuned
from lorary.errors import UnknownExpert
from lorary.experts.roles import SKILL
from lorary.files import quote
from lorary.library.entry import Entry
from lorary.library.general import take_general
from lorary.library.skills import load_skills


def list_answering(options: Namespace) -> Iterable[Entry]:
    """List the experts that may answer: of the library or the built model, or the one of ``--expert``."""
    if is_saved_model(options.library):
        entries = open_filled_library(f"{options.library}/{EXPERTS}").entries()
    elif is_for_task(options):
        entries = open_filled_library(options.library).entries(role=SKILL)
    elif options.expert is None:
        return look_routed(options, open_filled_library(options.library)).entries()
    else:
        entries = open_filled_library(options.library).entries()
    return [entry for entry in entries if options.expert in (None, entry.name)]


def load_routed(options: Namespace) -> RoutedModel:
    """Load a built model, or the base model with the experts of a library.

    Raises:
        ValueError: if an option is invalid, or belongs to a router that is not used.
        LibraryError: if the library is empty.
        UnknownExpert: if the library has no expert of the name in ``--expert``.
    """
    is_built = is_saved_model(options.library)
    is_named = options.expert is not None or is_for_task(options)
    if is_built:
        refuse_unused_options(options, [options.router] if options.router and options.expert is None else [])
        return load_built(options)
    library = open_filled_library(options.library)
    router = options.router
    if router is None and not is_named:
        router = choose_default_router(library)
    refuse_unused_options(options, [router] if router and options.expert is None else [])
    if is_for_task(options):
        skills = load_skills(library, options.skills)
        base = load_options_base(options, library)
        return load_model(base, {}, router=None, skills=skills, trust_base=options.trust_base)
    if options.expert is not None:
        if options.expert not in library:
            raise UnknownExpert(options.expert, library, f"library {quote(options.library)}")
        base = load_options_base(options, library)
        chosen = {options.expert: library[options.expert]}
        return load_model(
            base,
            chosen,
            router=None,
            skills=None,
            general=take_general(library, [options.expert]),
            trust_base=options.trust_base,
        )
    routed = choose_routed(options, library)
    if options.router == "none":
        base = load_options_base(options, routed)
        return load_model(base, routed, router=None, skills=None, trust_base=options.trust_base)
    assert router is not None
    config = use_tuned(read_router_options(options, router, list(routed)), router, library, options)
    base = load_options_base(options, routed)
    with show_work("preparing the router") as show:
        return load_model(
            base,
            routed,
            router=router,
            combine=options.combine,
            skills=None,
            trust_base=options.trust_base,
            on_progress=show,
            **asdict(config),
        )


def load_built(options: Namespace) -> RoutedModel:
    """Load a model of ``lorary build``, with its own router or with that of the options.

    Raises:
        ValueError: if a base model is given: a built model has its own.
        UnknownExpert: if the model has no expert of the name in ``--expert``.
    """
    if options.include:
        raise ValueError("a built model has fixed experts: leave out --include")
    if options.base or options.revision or options.trust_base or options.quantize:
        raise ValueError(
            "a built model has its own base model: leave out --base, --revision, --trust-base and --quantize"
        )
    names = list(read_saved_model(options.library).experts)
    if options.expert is not None and options.expert not in names:
        raise UnknownExpert(options.expert, names, f"model {quote(options.library)}")
    is_named = options.expert is not None or is_for_task(options)
    router: Any = None if is_named or options.router == "none" else options.router or ...
    given: dict[str, Any] = {}
    if isinstance(router, str):
        given = asdict(read_router_options(options, router, names))
    device, dtype = read_device(options), read_dtype(options)
    with show_work(f"loading {options.library}") as show:
        return load_model(
            options.library,
            router=router,
            combine=options.combine,
            dtype=dtype,
            device=device,
            on_progress=show,
            **given,
        )
