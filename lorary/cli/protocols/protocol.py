"""The parts of a protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Values = Mapping[str, str | list[str]]
"""Name -> replacement for ``{name}`` in a command: a text, or several words."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One command of a protocol."""

    name: str
    """Its name."""
    does: str
    """What it does, in one line."""
    command: tuple[str, ...]
    """The words of its command line, after ``lorary``."""
    needs: tuple[str, ...] = ()
    """The stages that must be finished before."""
    makes: tuple[str, ...] = ()
    """Files and folders that exist when it is finished."""
    cost: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The amounts that it reads and trains, for the plan."""
    scales: tuple[str, ...] = ()
    """The scales that have it; empty for all."""


@dataclass(frozen=True, kw_only=True)
class BaseSizes:
    """Sizes of a base model, for the plan."""

    parameters: float
    """Number of parameters."""
    layers: int
    """Number of blocks."""
    hidden: int
    """Width of the hidden states."""
    width: int
    """Sum of the inputs and outputs of all layers that experts change."""
    bytes: int = 2
    """Bytes of a number."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A size at which a protocol can be run."""

    name: str
    """Its name."""
    sizes: BaseSizes
    """Sizes of the base model."""
    values: Values = field(default_factory=dict)
    """Replacements for names in commands."""
    with_data: Values = field(default_factory=dict)
    """Values that differ if the user gives a folder of data."""
    model: str | None = None
    """A random model of this kind is created as the base model; None if ``values`` has a base model."""
    tflops: float = 125.0
    """Speed of the device, in 10^12 operations per second, for the estimate of hours."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the final table: the results of one route in one stage."""

    row: str
    """What is measured."""
    stage: str
    """The stage, whose folder has the results."""
    route: str
    """The route."""
    metric: str | None = None
    """The metric; None for the first of the results."""
    tasks: str | None = None
    """The value of the scale that names the tasks; None for all tasks of the stage."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Task, or ``mean`` -> the published number, in the unit of the table."""
    source: str = ""
    """Source of the published numbers: paper, table, and differences."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A published experiment."""

    name: str
    """Its name: that of the file."""
    title: str
    """Its description in one line."""
    paper: str
    """Where it was published."""
    about: str
    """What follows the publication, and what does not."""
    scales: Mapping[str, Scale]
    """By name."""
    stages: tuple[Stage, ...]
    """In an order in which each stage follows those that it needs."""
    table: tuple[Row, ...]
    """The rows of the final table."""
