"""Prepare an evaluation without a library: of the base model alone, and of control experts by name."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from jsonargparse import Namespace

from lorary.assembly import RoutedModel, load_model
from lorary.assembly.bare_model import make_bare_model
from lorary.cli.base_model import load_options_base
from lorary.cli.comparison.routes import check_against, split_commas
from lorary.cli.filled_library import open_filled_library
from lorary.cli.router_configs import refuse_unused_options
from lorary.evaluation import Route
from lorary.evaluation.routes import EXPERT_PREFIX, check_routes
from lorary.experts import Expert
from lorary.files import quote

BASE = "base"


def list_missing(options: Namespace) -> Iterator[str]:
    """Yield what ``lorary eval`` cannot do without a library.

    Args:
        options: the command's options, without a library.
    """
    if options.base is None:
        yield (
            "lorary eval needs LIBRARY, the folder or URL of a library; to measure a base model alone, give "
            "--base and leave LIBRARY out"
        )
    for name in ("include", "skills"):
        if options[name]:
            yield f"--{name} chooses experts of LIBRARY: give LIBRARY, or leave it out"


def prepare_without_library(options: Namespace, measured: Collection[str]) -> tuple[RoutedModel, list[Route]]:
    """Check the options of routes, then load the base model with the controls among the routes.

    Args:
        options: the command's options, without a library.
        measured: names of the measured tasks.

    Raises:
        ValueError: with the invalid option.
        LoraryError: if the controls or the base model cannot be used.
    """
    controls = open_filled_library(options.controls) if options.controls is not None else {}
    names = choose_routes_alone(options.routes, controls)
    check_against(options.against, names)
    refuse_unused_options(options, names)
    base = load_options_base(options, dtype=torch.float32)
    wanted: Mapping[str, Expert] = {
        name: controls[name] for each in names if (name := each.removeprefix(EXPERT_PREFIX)) != BASE
    }
    if wanted:
        # A control is an expert like any other where no router chooses.
        model = load_model(base, wanted, router=None, skills=None, trust_base=options.trust_base)
    else:
        model = make_bare_model(base)
    routes = [
        Route(name=name, expert_of=dict.fromkeys(measured, name.removeprefix(EXPERT_PREFIX)))
        if name != BASE
        else Route(name=name)
        for name in names
    ]
    return model, routes


def choose_routes_alone(asked: str | Sequence[str] | None, controls: Collection[str]) -> list[str]:
    """Choose the routes that need no library.

    Args:
        asked: names, or one text with commas; None means the base model and all controls.
        controls: names of the controls.

    Raises:
        ValueError: if a name is no route, is given twice, or needs a library.
        UnknownExpert: if it is ``expert:NAME`` and no control has the name.
    """
    names = [BASE, *controls] if asked is None else split_commas(asked)
    check_routes(names, (), controls)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ValueError(
            f"routes must be at least one name, each once, found {quote(names)}: correct --routes"
        )
    others = [name for name in names if name != BASE and name.removeprefix(EXPERT_PREFIX) not in controls]
    if others:
        raise ValueError(
            f"without LIBRARY, routes are base and the names of --controls, found {quote(others)}: give "
            "LIBRARY, or leave them out"
        )
    return names
