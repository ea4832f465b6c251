"""The contract of facts: what can be known about experts on a base model, from what, and how it is found.

A fact keeps what it knows of each expert as an *artifact*, named tensors in few pieces, which are quick to
store and to read; ``lay_out`` turns those of many experts into what routers are built from.

Shape letters: E experts, N rows of one expert, I layer input, D embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from torch import Tensor

from lorary.experts import Expert
from lorary.facts.rows import are_sound_rows, lay_out_rows
from lorary.facts.soundness import Artifact
from lorary.library.derive import IsSound
from lorary.models import BaseModel, ExpertStack
from lorary.training import TrainingExamples

Laid = Mapping[str, Mapping[str, Tensor]]
"""Tensor -> module path -> ``[E, …]``; or, before the output layer, tensor -> expert -> ``[N, D]``."""


class Source(StrEnum):
    """What a fact is computed from, in words for its user."""

    EXPERTS = "the experts alone"
    GENERIC = "the experts and requests of no task in particular"
    EXAMPLES = "examples of each expert's own task"
    TRAINING = "training on examples of each expert's own task"


@dataclass(frozen=True, kw_only=True)
class Context:
    """What facts are computed from."""

    base: BaseModel
    """The base model."""
    stack: ExpertStack
    """The experts on it."""
    experts: Mapping[str, Expert]
    """The same experts as they were loaded; the artifacts of a ``Library`` are used."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further inputs of the fact: options of the router that needs it, or of the caller."""
    examples: Mapping[str, TrainingExamples] = field(default_factory=dict)
    """Expert -> examples of its own task; empty if there are no tasks."""
    on_progress: Callable[[int, int], None] | None = None
    """Called with how many steps are done, and of how many, by what takes long."""


def _depend_on_nothing(context: Context) -> dict[str, Any]:
    return {}


def _check_rows(context: Context) -> IsSound:
    return lambda name, artifact: are_sound_rows(context.stack, artifact)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One kind of knowledge about experts. By default it is a vector ``[I]`` per expert and layer.

    Raises:
        ValueError: if it is stored, but nothing tells examples of tasks apart that it is computed from.
    """

    name: str
    """What routers' ``needs`` and ``provide`` call it."""
    source: Source
    """What it is computed from."""
    advice: str
    """How a user gets it, in the imperative, for messages."""
    compute: Callable[[Context, Sequence[str]], Mapping[str, Artifact]]
    """Computes it for the experts of some names, which are on the model: an artifact for each (`pack_rows`
    makes them of vectors)."""
    place: Literal["layers", "output"] = "layers"
    """Whether it is known at each layer with experts, or before the model's output layer."""
    shapes: Mapping[str, str] = field(default_factory=dict)
    """Tensors that routers get of it -> a letter for each dimension; if not given, one of the fact's name."""
    algorithm: str | None = None
    """The name under which it is stored with a library's experts, with a version in it; None: it is not."""
    is_cached: bool = False
    """Whether it takes so long that it is stored in the cache folder for experts of no library."""
    identify: Callable[[Context], Mapping[str, Any]] = _depend_on_nothing
    """Tells all that it depends on besides expert, examples and base model; what JSON can hold."""
    digest: Callable[[Context, str], str] | None = None
    """Hashes the examples of one expert, if it depends on any."""
    check: Callable[[Context], IsSound] = _check_rows
    """Makes the check of stored artifacts, see ``soundness.py``."""
    unpack: Callable[[Context, Sequence[str], Sequence[Artifact]], Laid] | None = None
    """Puts artifacts of experts of these names together; if not given, as vectors of each layer, or as the
    one tensor that each expert has before the output layer."""

    def __post_init__(self) -> None:
        if self.needs_tasks and self.algorithm is not None and self.digest is None:
            raise ValueError(
                f"fact {self.name!r} is stored and depends on examples of tasks: give digest=..., or what "
                "was computed from other examples would be taken for it"
            )
        if not self.shapes:
            object.__setattr__(self, "shapes", {self.name: "EI" if self.place == "layers" else "ND"})

    def lay_out(self, context: Context, names: Sequence[str], artifacts: Sequence[Artifact]) -> Laid:
        """Put artifacts of experts together into what routers are built from."""
        if self.unpack is not None:
            return self.unpack(context, names, artifacts)
        if self.place == "layers":
            return {self.name: lay_out_rows(context.stack, artifacts)}
        pairs = zip(names, artifacts, strict=True)
        return {self.name: {name: artifact[self.name] for name, artifact in pairs}}

    def list_parameters(self, context: Context) -> dict[str, Any]:
        """List all that it depends on besides the expert and its examples: its key's parameters."""
        base = {} if self.source is Source.EXPERTS else {"base": context.base.fingerprint}
        return {**self.identify(context), **base}

    @property
    def needs_tasks(self) -> bool:
        """Whether it needs examples of the experts' tasks."""
        return self.source in (Source.EXAMPLES, Source.TRAINING)
