"""What a protocol consists of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Values = Mapping[str, str | list[str]]
"""Name -> what stands for ``{name}`` in a command: a text, or several words."""


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
    """The stages that must have ended before."""
    makes: tuple[str, ...] = ()
    """Files and folders that are there when it has ended."""
    cost: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What it reads and trains: numbers, for the plan."""
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
    """Inputs and outputs of all layers that experts change, added up."""
    bytes: int = 2
    """Bytes of a number."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A size in which a protocol can be run."""

    name: str
    """Its name."""
    sizes: BaseSizes
    """Sizes of the base model."""
    values: Values = field(default_factory=dict)
    """What stands for names in commands."""
    with_data: Values = field(default_factory=dict)
    """Other values, if the user gives a folder of data."""
    model: str | None = None
    """A random model of this kind is made and is the base model; None if ``values`` has a base model."""
    tflops: float = 125.0
    """Speed of the device, in 10^12 operations per second, that hours are computed with."""


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
    """The value of the scale that names the tasks; None for all that the stage has measured."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Task, or ``mean`` -> the published number, in the unit of the table."""
    source: str = ""
    """Where the published numbers stand: paper, table, and what differs."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A published experiment."""

    name: str
    """Its name: that of the file."""
    title: str
    """One line on it."""
    paper: str
    """Where it was published."""
    about: str
    """What is as published, and what is not."""
    scales: Mapping[str, Scale]
    """By name."""
    stages: tuple[Stage, ...]
    """In an order in which each stage follows those that it needs."""
    table: tuple[Row, ...]
    """The rows of the final table."""
