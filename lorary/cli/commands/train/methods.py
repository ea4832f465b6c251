"""The table of training methods. A method is a module with ``run(options)`` and a line here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from lorary.files import quote
from lorary.training.objectives.moe_config import MoeConfig
from lorary.training.objectives.skill_config import SkillConfig
from lorary.training.peft_kinds import KINDS


@dataclass(frozen=True, kw_only=True)
class Method:
    """An entry of the table."""

    summary: str
    """What is trained, for the help."""
    module: str
    """Module below ``lorary.cli.commands.train`` with ``run(options)``, imported only to run it."""
    settings: Mapping[str, type[Any]] = field(default_factory=dict)
    """Name of a group of options -> the dataclass that has them; several methods may share a group. Its field
    ``train`` is left out: it is made of ``--training``."""


PEFT = "peft"
"""The method that ``--kind`` and ``--peft-config`` imply."""
SKILLS: Mapping[str, type[Any]] = {"skills": SkillConfig}
METHODS: dict[str, Method] = {
    "experts": Method(summary="one expert per task, or as set by --expert and --groups", module="experts"),
    "poly": Method(
        summary="skills that all tasks share, and a table of each task's weights (Polytropon)",
        module="skills",
        settings=SKILLS,
    ),
    "mhr": Method(
        summary="as poly, with separate weights for blocks of each layer (MHR)",
        module="skills",
        settings=SKILLS,
    ),
    "moe": Method(
        summary="a router over the library's experts, for each token and layer (docs/moe.md)",
        module="moe",
        settings={"moe": MoeConfig},
    ),
    PEFT: Method(
        summary="experts of other kinds, with PEFT's layers (--kind or --peft-config)", module="peft"
    ),
}


def add_method_options(parser: ArgumentParser) -> None:
    """Add ``--method``, and the settings of all methods."""
    parser.add_argument(
        "--method",
        choices=list(METHODS),
        default="experts",
        help="What to train. " + ". ".join(f"{name}: {kind.summary}" for name, kind in METHODS.items()),
    )
    kinds = ", ".join(f"{kind} ({found.summary})" for kind, found in KINDS.items())
    parser.add_argument(
        "--kind", type=str | None, help=f"Kind of experts that PEFT trains, instead of --method peft: {kinds}"
    )
    parser.add_argument(
        "--peft-config",
        type=str | None,
        metavar="FILE",
        help="JSON or YAML with PEFT's configuration of any kind, with peft_type, instead of --kind",
    )
    for group, settings in list_groups().items():
        parser.add_class_arguments(settings, group, skip={"train"})


def list_groups() -> dict[str, type[Any]]:
    """List the groups of settings of all methods."""
    return {group: settings for kind in METHODS.values() for group, settings in kind.settings.items()}


def refuse_unused_settings(options: Namespace) -> None:
    """Refuse settings of another method than the chosen one.

    Raises:
        ValueError: with the first such setting.
    """
    for group, settings in list_groups().items():
        if group in METHODS[options.method].settings:
            continue
        given = vars(options.get(group, Namespace()))
        defaults = {name: entry.default for name, entry in settings.__dataclass_fields__.items()}
        changed = sorted(name for name, value in given.items() if value != defaults[name])
        if changed:
            methods = [name for name, kind in METHODS.items() if group in kind.settings]
            raise ValueError(
                f"--{group}.{changed[0]} is a setting of method {' and '.join(methods)}, found --method "
                f"{quote(options.method)}: add --method {methods[0]}, or leave it out"
            )
