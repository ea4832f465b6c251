"""The configurations of an adaptation: one per method."""

from collections.abc import Iterator
from dataclasses import fields, replace

from jsonargparse import Namespace

from lorary.adaptation.config import FEW_SHOT, AdaptConfig
from lorary.adaptation.methods.table import METHODS
from lorary.adaptation.retrieval.table import DEFAULT_RETRIEVAL
from lorary.cli.commands.adapt.options import OWN
from lorary.cli.comparison.routes import split_commas
from lorary.cli.faults import Faults
from lorary.errors import suggest
from lorary.files import quote
from lorary.training import TrainConfig

ALL, BEST, NONE = "all", "best", "none"


def read_configs(options: Namespace, *, is_for_encoder: bool = False) -> dict[str, AdaptConfig]:
    """Build the configuration of each method, with the first seed.

    Args:
        options: the options of the command.
        is_for_encoder: whether the library's base model has an encoder.

    Raises:
        ValueError: with all unknown methods and invalid settings.
    """
    faults = Faults()
    methods = faults.keep(lambda: read_methods(options, is_for_encoder=is_for_encoder))
    seeds = faults.keep(lambda: read_seeds(options))
    given = dict(vars(options.training))
    if all(given[name] is None for name in ("epochs", "max_steps", "max_tokens")):
        given["epochs"] = FEW_SHOT["epochs"]
    train = faults.keep(lambda: TrainConfig(**given, seed=seeds[0] if seeds else 0))
    settings = {name: getattr(options, name) for name in OWN if name != "method"}
    config = faults.keep(
        lambda: AdaptConfig(train=train or TrainConfig(max_steps=1), **settings, **vars(options.adapt))
    )
    if methods is not None and is_for_encoder:
        generic = [name for name in methods if METHODS[name].needs_generic]
        faults.keep(lambda: _refuse_generic(generic, options.by))
    if methods is not None and config is not None:
        faults.add(*_find_unused(config, methods))
    faults.raise_all()
    assert methods is not None and config is not None
    return {method: replace(config, method=method) for method in methods}


def read_methods(options: Namespace, *, is_for_encoder: bool = False) -> list[str]:
    """Return the methods of ``--method``; ``all`` leaves out those that cannot run.

    These are multi-task if no such expert is named, and calibrated if the base model has an encoder.

    Raises:
        ValueError: with all unknown ones, or if there is none.
    """
    names = split_commas(options.method)
    if names == [ALL]:
        return [
            name
            for name, method in METHODS.items()
            if (name != "multi-task" or options.multi_task is not None)
            and not (method.needs_generic and is_for_encoder)
        ]
    unknown = [
        f"no method is named {quote(name, 60)}: {suggest(str(name)[:200], METHODS)}"
        for name in names
        if name not in METHODS
    ]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            "--method: " + ("; ".join(unknown) or f"name at least one, each once, found {quote(names)}")
        )
    return names


def read_seeds(options: Namespace) -> list[int]:
    """Return the seeds of ``--seeds``.

    Raises:
        ValueError: if they are not different whole numbers.
    """
    words = split_commas(options.seeds)
    if not words or not all(word.isdecimal() and len(word) < 16 for word in words):
        raise ValueError(f"--seeds must be whole numbers, such as 0,1,2, found {quote(options.seeds, 60)}")
    seeds = [int(word) for word in words]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds must be different, found {quote(options.seeds, 60)}")
    return seeds


def reseed(config: AdaptConfig, seed: int) -> AdaptConfig:
    """Return the configuration with another seed."""
    return replace(config, train=replace(config.train, seed=seed))


def _refuse_generic(methods: list[str], by: str | None) -> None:
    words = [f"--method {name}" for name in methods] + [f"--by {by}"] * (by == DEFAULT_RETRIEVAL)
    if words:
        raise ValueError(
            f"{words[0]} needs generic texts, which a base model with an encoder does not "
            "write: use another one, or in Python adapt(router_options={'generic': texts})"
        )


def _find_unused(config: AdaptConfig, methods: list[str]) -> Iterator[str]:
    """Find settings that none of the methods uses."""
    used = {name for method in methods for name in METHODS[method].settings}
    is_compared = config.retrieve is not None or any(METHODS[method].needs_scores for method in methods)
    if config.by is not None and "by" in used and not is_compared:
        yield (
            f"--by needs --retrieve, because --method {','.join(methods)} uses all experts: add --retrieve "
            "with the number of experts, or leave out --by"
        )
    for field in fields(AdaptConfig):
        name = field.name
        if name in used or name in ("method", "train", "rank") or getattr(config, name) == field.default:
            continue
        option = f"--{name.replace('_', '-')}" if name in OWN else f"--adapt.{name}"
        users = [method for method, kind in METHODS.items() if name in kind.settings]
        yield (
            f"{option} is a setting of methods {', '.join(users)}, found --method {','.join(methods)}: "
            "choose one of these, or leave it out"
        )
