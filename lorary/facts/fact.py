"""The contract of facts: a fact's name, its inputs, its computation, and its storage.

A fact of one expert is stored as an *artifact*: a few named tensors, quick to write and to read. ``lay_out``
turns the artifacts of many experts into the stacked tensors that routers are built from.

Shape letters: E experts, N rows of one expert, I layer input, D embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from lorary.experts import Expert
from lorary.facts.rows import are_sound_rows, lay_out_rows
from lorary.facts.soundness import Artifact
from lorary.library.derive import IsSound
from lorary.models import BaseModel, ExpertStack
from lorary.models.expert_linear import ExpertLinear
from lorary.training import TrainingExamples

if TYPE_CHECKING:
    from lorary.facts.joint import Joint

Laid = Mapping[str, Mapping[str, Tensor]]
"""Tensor -> module path -> ``[E, …]``; for a fact of the output layer: tensor -> expert -> ``[N, D]``."""


OnWork = Callable[[str, int, int], None]
"""Called with what is computed, such as ``calibrating 8 experts``, and the numbers of steps done and of all
steps; 0 of 0 at the beginning."""


class Source(StrEnum):
    """What a fact is computed from, worded for users."""

    EXPERTS = "the experts alone"
    GENERIC = "the experts and requests of no task in particular"
    EXAMPLES = "examples of each expert's own task"
    TRAINING = "training on examples of each expert's own task"
    TOGETHER = "a training of all experts together, on examples of any tasks"


@dataclass(frozen=True, kw_only=True)
class Context:
    """The inputs of facts."""

    base: BaseModel
    """The base model."""
    stack: ExpertStack
    """The experts attached to it."""
    experts: Mapping[str, Expert]
    """The mapping that they were loaded from; if it is a ``Library``, its stored artifacts are used."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further inputs of the fact: options of the router that needs it, or of the caller."""
    examples: Mapping[str, TrainingExamples] = field(default_factory=dict)
    """Expert -> examples of its own task; empty if there are no tasks."""
    on_progress: Callable[[int, int], None] | None = None
    """Called by facts that take long, with the number of finished steps and of all steps."""
    on_work: OnWork | None = None
    """Called when facts that take long are computed; ``on_progress`` is then made of it."""


def _depend_on_nothing(context: Context) -> dict[str, Any]:
    return {}


def _read_width(layer: ExpertLinear) -> int:
    return layer.a.shape[2]


def _depend_alike(context: Context, name: str) -> dict[str, Any]:
    return {}


def _check_rows(context: Context) -> IsSound:
    return lambda name, artifact: are_sound_rows(context.stack, artifact)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One kind of fact about experts. By default it is a vector ``[I]`` per expert and layer.

    Raises:
        ValueError: if it is stored and depends on examples of tasks, but has no ``digest`` of them.
    """

    name: str
    """Its name in a router's ``needs`` and in ``provide``."""
    source: Source
    """What it is computed from."""
    compute: Callable[[Context, Sequence[str]], Mapping[str, Artifact]]
    """Computes an artifact for each named expert, all of them on the model (`pack_rows` makes artifacts of
    vectors)."""
    place: Literal["layers", "output"] = "layers"
    """Whether it belongs to each layer with experts, or to the input of the model's output layer."""
    shapes: Mapping[str, str] = field(default_factory=dict)
    """Tensors that routers receive -> a letter for each dimension; by default one, of the fact's name."""
    algorithm: str | None = None
    """The name, with a version, under which a library stores it; None if it is not stored."""
    is_cached: bool = False
    """Whether it takes so long that it is stored in the cache folder for experts without a library."""
    identify: Callable[[Context], Mapping[str, Any]] = _depend_on_nothing
    """Returns everything that it depends on besides expert, examples and base model, as JSON values."""
    identify_each: Callable[[Context, str], Mapping[str, Any]] = _depend_alike
    """Returns what else it depends on for one expert, as JSON values."""
    digest: Callable[[Context, str], str] | None = None
    """Hashes the examples of one expert, if it depends on any."""
    check: Callable[[Context], IsSound] = _check_rows
    """Returns the check of stored artifacts, see ``soundness.py``."""
    width: Callable[[ExpertLinear], int] = _read_width
    """Number of values of a row of a layer; by default I. Rows of that many are given to `provide`."""
    work: str | None = None
    """The message while it is computed, with ``{experts}`` for their number; None if it is quick."""
    unpack: Callable[[Context, Sequence[str], Sequence[Artifact]], Laid] | None = None
    """Stacks the artifacts of the named experts. By default they are taken as vectors of each layer, or as
    one tensor per expert for a fact of the output layer."""
    joint: "Joint | None" = None
    """How it is handled if it is a fact of several experts together, with one artifact for all of them, which
    ``compute`` cannot make; None for a fact of each expert."""

    def __post_init__(self) -> None:
        if self.needs_tasks and self.algorithm is not None and self.digest is None:
            raise ValueError(
                f"fact {self.name!r} is stored and depends on examples of tasks, so it must have digest=...: "
                "else an artifact computed from other examples would be used"
            )
        if not self.shapes:
            object.__setattr__(self, "shapes", {self.name: "EI" if self.place == "layers" else "ND"})

    def lay_out(self, context: Context, names: Sequence[str], artifacts: Sequence[Artifact]) -> Laid:
        """Stack the artifacts of the named experts into the tensors that routers are built from."""
        if self.unpack is not None:
            return self.unpack(context, names, artifacts)
        if self.place == "layers":
            return {self.name: lay_out_rows(context.stack, artifacts)}
        pairs = zip(names, artifacts, strict=True)
        return {self.name: {name: artifact[self.name] for name, artifact in pairs}}

    def list_parameters(self, context: Context) -> dict[str, Any]:
        """Return the parameters of its key: everything it depends on besides the expert and its examples."""
        if self.source is Source.EXPERTS:
            return dict(self.identify(context))
        general = context.stack.general
        # With experts that build on a general one, layers read other inputs.
        read = {} if general is None else {"general": general.weights}
        return {**self.identify(context), "base": context.base.fingerprint, **read}

    @property
    def needs_tasks(self) -> bool:
        """Whether it needs examples of the experts' tasks."""
        return self.source in (Source.EXAMPLES, Source.TRAINING)
