"""The facts about the experts on one model: computed at first use, or given by the user.

E experts that a router may choose, N rows, I layer input, D width of an embedding.
"""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from lorary.errors import LibraryError, UnknownExpert
from lorary.experts import Expert
from lorary.experts.parts.low_rank_only import refuse_kinds
from lorary.facts.encoder import Encoder
from lorary.facts.fact import Context, Fact, Laid, OnWork
from lorary.facts.finding import find_artifacts
from lorary.facts.fitted_library import WithArtifacts
from lorary.facts.given import check_given, take_rows
from lorary.facts.joint import JointFacts
from lorary.facts.log_work import log_work
from lorary.facts.soundness import Artifact
from lorary.facts.table import FACTS
from lorary.library import Library
from lorary.models import BaseModel, ExpertStack

# (fact, its parameters as JSON) -> expert -> artifact
Computed = dict[tuple[str, str], dict[str, Artifact]]


class Facts:
    """The facts about the experts on one model, by fact and expert.

    The caller of a method holds ``lock``. The caller of ``find`` has also entered ``ExpertStack.in_use``.

    Args:
        base: the base model.
        stack: the experts on it.
        experts: those that a router may choose; they come first in the stack. If it is a ``Library``, its
            stored artifacts are used.
        on_work: called when facts that take long are computed; None writes a line to the log ``lorary``.
    """

    def __init__(
        self,
        base: BaseModel,
        stack: ExpertStack,
        experts: Mapping[str, Expert],
        on_work: OnWork | None = None,
    ):
        self.lock = threading.RLock()
        self._on_work = on_work or log_work
        self.encoder: Encoder | None = None
        """The encoder of the given embeddings; None for the base model."""
        # One tuple, so that a thread without the lock never sees a new stack with old names.
        self.carried = stack, stack.names[: len(experts)]
        """The experts on the model, and the names of those that a router may choose."""
        self.base = base
        self._experts = experts
        self._contents = _identify(experts, self.names)
        self.named: dict[str, Expert] = {}
        """Experts that are not controls, but that routers cannot choose because of their kinds."""
        self.general: Expert | None = None
        """The model's general expert: always active for experts that build on it; otherwise a fallback
        for routers."""
        self._added: dict[str, Expert] = {}
        self._computed: Computed = {}
        # fact -> expert -> artifact
        self._given: dict[str, dict[str, Artifact]] = {}
        self._joint = JointFacts()

    @property
    def stack(self) -> ExpertStack:
        """The experts on the model."""
        return self.carried[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The experts that a router may choose."""
        return self.carried[1]

    @property
    def controls(self) -> tuple[str, ...]:
        """The experts that are used by name only, last in the stack; without the general expert."""
        stack, names = self.carried
        general = None if self.general is None else self.general.name
        return tuple(name for name in stack.names[len(names) :] if name != general)

    @property
    def fallback(self) -> int | None:
        """Place in the stack of the general expert that routers may fall back on; None if it is always on."""
        if self.general is None or self.stack.general is not None:
            return None
        return self.stack.index(self.general.name)

    def expert(self, name: str) -> Expert:
        """Return one of the experts as it was loaded or added."""
        return self.named.get(name) or self._added.get(name) or self._experts[name]

    def find(self, name: str, options: Mapping[str, Any] | None = None) -> Laid:
        """Return a fact's stacked tensors for all experts that a router may choose.

        Args:
            name: a key of ``FACTS``.
            options: the fact's options, such as those of the router that needs it.

        Raises:
            ValueError: if the user must give the fact and has not; the message explains how.
            LibraryError: if an expert in the library was replaced after the model was loaded.
        """
        fact = FACTS[name]
        context = self._make_context(self._experts, options or {})
        if fact.joint is not None:
            added = self._make_context(self._added, context.options)
            return fact.lay_out(context, self.names, [self._joint.find(fact, context, self.names, added)])
        known = self._find_known(fact, context)
        return fact.lay_out(context, self.names, [known[expert] for expert in self.names])

    def give(
        self,
        facts: Mapping[str, Mapping[str, Tensor]],
        names: Sequence[str],
        encoder: Encoder | None = None,
    ) -> None:
        """Store given facts.

        Args:
            facts: key of ``FACTS`` -> its rows. For a fact of layers: module path -> ``[N, I]``, for every
                layer that an expert changes which a router may choose; others get zeros. For a fact of the
                output layer: expert -> ``[N, D]``, with at least one row and the same D for all experts. For
                a fact of several experts together: its tensors, which have the experts' names.
            names: the N experts that rows of layers belong to.
            encoder: the encoder of given embeddings; None for the base model.

        Raises:
            ValueError: if a fact cannot be given, a path is not that of a layer with experts, a layer has no
                rows, a shape is wrong, or there is an encoder without embeddings.
            UnknownExpert: if a name is not that of an expert that a router may choose.
        """
        check_given(list(facts))
        of_output = [name for name in facts if FACTS[name].place == "output"]
        for expert in (*names, *(expert for name in of_output for expert in facts[name])):
            self.require(expert)
        if encoder is not None and not of_output:
            raise ValueError("an encoder needs the embeddings that it computed: pass embeddings=... too")
        taken, joint = {}, {}
        for name, rows in facts.items():
            if (together := FACTS[name].joint) is not None:
                joint[name] = together.take(self.stack, self.names, rows)
                continue
            known = self._given.get(name, {})
            taken[name] = {**known, **take_rows(FACTS[name], self.stack, rows, names, self.names, known)}
        # Only after all are checked, so that an invalid fact leaves the others unchanged.
        self._given.update(taken)
        for name, artifact in joint.items():
            self._joint.give(FACTS[name], artifact)
        if of_output:
            self.encoder = encoder

    def require(self, name: str) -> None:
        """Check that a name is that of an expert that a router may choose.

        Raises:
            UnknownExpert: if it is not.
            IncompatibleExpert: if routers cannot choose this expert because of its kinds.
        """
        if name in self.named:
            refuse_kinds({name: self.stack.kinds.get(name, ())}, "a router or its facts")
        if name not in self.names:
            raise UnknownExpert(name, self.names, "this model")

    def list_given(self, names: Sequence[str]) -> dict[str, Tensor]:
        """List the facts that were given for all of these experts.

        Args:
            names: experts that a router may choose, in the order of the returned rows.

        Returns:
            ``FACT/PATH`` -> ``[E, I]``, ``FACT/EXPERT`` -> ``[N, D]``, and for facts of several experts
            together, loaded ones too, ``FACT/TENSOR``.
        """
        context = self._make_context(self._experts, {})
        found = self._joint.list_tensors()
        for name, known in self._given.items():
            if all(expert in known for expert in names):
                rows = FACTS[name].lay_out(context, names, [known[expert] for expert in names])[name]
                found |= {f"{name}/{place}": tensor for place, tensor in rows.items()}
        return found

    def store(self, library: Library) -> None:
        """Store the facts computed on this model in a library of the same experts.

        Args:
            library: contains every expert that a router may choose.

        Raises:
            LibraryError: if it cannot be written.
        """
        for (name, identity), known in self._computed.items():
            fact = FACTS[name]
            present = [expert for expert in self.names if expert in known]
            if fact.algorithm is None or not present:
                continue
            context = self._make_context({}, json.loads(identity))
            parameters = {each: {**context.options, **fact.identify_each(context, each)} for each in present}
            keys = library.artifacts.make_keys(fact.algorithm, parameters)
            library.artifacts.save_all({key: known[expert] for expert, key in keys.items()})

    def check(self, needs: Iterable[str], names: Sequence[str]) -> None:
        """Check that every fact that only a user can give was given for all of these experts.

        Args:
            needs: facts that a router needs.
            names: the experts.

        Raises:
            ValueError: if one is missing; the message explains how to get it.
        """
        for fact in sorted(set(needs)):
            if FACTS[fact].joint is not None:
                self._joint.check(FACTS[fact], self.names, names)
                continue
            known = self._given.get(fact, {})
            missing = [name for name in names if name not in known]
            if FACTS[fact].needs_tasks and missing:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise ValueError(
                    f"this router needs the {fact} of every expert, found none for {missing[0]!r}{more}: "
                    f"compute them with lorary.facts.find_task_facts(model, experts, examples, [{fact!r}]), "
                    "pass the result to provide(...), then set the router"
                )

    def add(self, stack: ExpertStack, expert: Expert) -> None:
        """Add an expert, as the last of those that a router may choose; ``stack`` already has it."""
        self.carried = stack, (*self.names, expert.name)
        self._added[expert.name] = expert

    def add_named(self, stack: ExpertStack, expert: Expert) -> None:
        """Add an expert that routers cannot choose; ``stack`` already has it, after all others."""
        self.carried = stack, self.names
        self.named[expert.name] = expert

    def remove(self, stack: ExpertStack, name: str) -> None:
        """Remove an expert and its facts; ``stack`` no longer has it."""
        self.named.pop(name, None)
        if self.general is not None and name == self.general.name:
            self.general = None
        self.carried = stack, tuple(other for other in self.names if other != name)
        self._added.pop(name, None)
        for known in (*self._computed.values(), *self._given.values()):
            known.pop(name, None)
        self._joint.remove(name)

    def exchange_computed(self, computed: Computed) -> Computed:
        """Replace what was computed so far, such as by nothing, and return it."""
        before, self._computed = self._computed, computed
        return before

    def _make_context(self, experts: Mapping[str, Expert], options: Mapping[str, Any]) -> Context:
        return Context(
            base=self.base, stack=self.stack, experts=experts, options=options, on_work=self._on_work
        )

    def _find_known(self, fact: Fact, context: Context) -> Mapping[str, Artifact]:
        if fact.needs_tasks:
            self.check([fact.name], self.names)
            return self._given[fact.name]
        given = self._given.get(fact.name, {})
        identity = json.dumps(fact.list_parameters(context), sort_keys=True)
        known = self._computed.setdefault((fact.name, identity), {})
        # Added experts are not in the library, so their facts are found apart from the others'.
        for experts in (self._added, self._experts):
            own = [name for name in self.names if (name in self._added) is (experts is self._added)]
            missing = [name for name in own if name not in known and name not in given]
            if missing:
                if experts is self._experts:
                    self._check_unchanged(missing)
                known.update(find_artifacts(fact, self._make_context(experts, context.options), missing))
        return {**known, **given}

    def _check_unchanged(self, names: Sequence[str]) -> None:
        """Refuse experts that were replaced in the library after the model was loaded."""
        for name, content in _identify(self._experts, names).items():
            if content != self._contents[name]:
                raise LibraryError(
                    f"expert {name!r} in the library is not the one this model was loaded with: load the "
                    "model again"
                )


def _identify(experts: Mapping[str, Expert], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the hashes of experts' content in a library; nothing for other mappings."""
    if not isinstance(experts, WithArtifacts):
        return {}
    keys = experts.artifacts.make_keys("content", {name: {} for name in names})
    return {name: key.subjects for name, key in keys.items()}
